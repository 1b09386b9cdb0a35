"""Import of the authors' weights, against a second implementation written from the published layout."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.checkpoints import load_checkpoint
from MSLFusionLib.io.official import import_official
from MSLFusionLib.nets.msl import MSL
from MSLFusionLib.nets.official import _linear_names, from_official, names
from MSLFusionLib.nets.presets import preset_config

BLOCK = "decoder.model.0."
State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def official() -> State:
    """A state_dict in the authors' layout with random weights: doubled keys, uncalled blocks and all."""
    torch.manual_seed(5)
    ours = {k: torch.randn_like(v) * 0.05 if v.is_floating_point() else v for k, v in _sizes().items()}
    state = {theirs: ours[name] for theirs, name in names().items()}
    for theirs, name in _linear_names().items():
        value = ours[name]
        state[theirs] = value[:, :, None, None] if name.endswith("weight") else value
    grid = ours["interaction.position"].flatten(2).permute(0, 2, 1).flatten(0, 1)
    state["pos_embedding"] = torch.cat([ours["interaction.class_position"][0], grid])[None]
    for key in list(state):
        if "running_var" in key:
            state[key] = state[key].abs() + 0.5
        if key.startswith(f"{BLOCK}conv_block."):
            state[key.replace("conv_block.", "")] = state[key].clone()
    return state


def _sizes() -> State:
    return MSL(preset_config("official")).state_dict()


def reference(state: State, ct: torch.Tensor, mr: torch.Tensor, lam: float) -> torch.Tensor:
    """The published forward pass for one slice, written with plain functions from its state_dict."""

    def conv(x: torch.Tensor, key: str, **how: int) -> torch.Tensor:
        return F.conv2d(x, state[f"{key}.weight"], state[f"{key}.bias"], **how)

    def encode(x: torch.Tensor, name: str) -> torch.Tensor:
        for i, (pad, stride) in enumerate([(3, 1), (1, 2), (1, 2)]):
            x = conv(F.pad(x, (pad,) * 4, mode="reflect"), f"{name}.model.{i}.conv", stride=stride)
            x = F.relu(F.instance_norm(x))
        x = conv(x, "to_patch_embedding.0", stride=4)
        return F.normalize(x.flatten(2).transpose(1, 2), dim=-1)

    def norm(x: torch.Tensor, key: str) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{key}.weight"], state[f"{key}.bias"])

    a, b = encode(ct, "encoder1"), encode(mr, "encoder2")
    x = torch.cat([state["cls_token_ct"], a, a, b, b], 1) + state["pos_embedding"]
    for i in range(2):
        key = f"transformer.layers.{i}"
        q, k, v = (norm(x, f"{key}.0.norm") @ state[f"{key}.0.fn.to_qkv.weight"].T).chunk(3, -1)
        heads = []
        for h in range(8):
            part = slice(64 * h, 64 * h + 64)
            weights = torch.softmax(q[..., part] @ k[..., part].transpose(1, 2) / 8, -1)
            heads.append(weights @ v[..., part])
        out = torch.cat(heads, -1) @ state[f"{key}.0.fn.to_out.0.weight"].T + state[f"{key}.0.fn.to_out.0.bias"]
        x = x + out
        y = norm(x, f"{key}.1.norm") @ state[f"{key}.1.fn.net.0.weight"].T + state[f"{key}.1.fn.net.0.bias"]
        x = x + F.gelu(y) @ state[f"{key}.1.fn.net.3.weight"].T + state[f"{key}.1.fn.net.3.bias"]
    n = x.shape[1] // 4
    x = sum(x[:, 1 + i * n : 1 + (i + 1) * n] for i in range(4)) / 4
    x = x.transpose(1, 2).reshape(1, -1, 24, 24)

    def up(x: torch.Tensor, key: str) -> torch.Tensor:
        weight, bias = state[f"{key}.weight"], state[f"{key}.bias"]
        return F.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=1)

    for i in (1, 2):
        x = up(x, f"upsampling{i}.0")
        mean, var = state[f"upsampling{i}.1.running_mean"], state[f"upsampling{i}.1.running_var"]
        x = F.relu(F.batch_norm(x, mean, var, state[f"upsampling{i}.1.weight"], state[f"upsampling{i}.1.bias"]))
    z = (torch.tensor([[lam]]) @ state["G_D.weight"].T + state["G_D.bias"])[:, :, None, None]

    def cin(x: torch.Tensor, key: str) -> torch.Tensor:
        x = (x - x.mean((2, 3), keepdim=True)) * torch.rsqrt(x.var((2, 3), keepdim=True) + 1e-5)
        return x * F.relu(conv(z, f"{key}.scale_conv.0")) + F.relu(conv(z, f"{key}.shift_conv.0"))

    y = F.relu(cin(conv(x, f"{BLOCK}conv_block.0.module1", padding=1), f"{BLOCK}conv_block.0.module2"))
    y = F.instance_norm(conv(y, f"{BLOCK}conv_block.2", padding=1))
    y = y * state[f"{BLOCK}conv_block.3.scale"][:, None, None] + state[f"{BLOCK}conv_block.3.shift"][:, None, None]
    x = F.relu(x + y)
    x = F.relu(cin(up(x, "decoder.model.1"), "decoder.model.2"))
    x = F.relu(cin(up(x, "decoder.model.4"), "decoder.model.5"))
    return torch.tanh(conv(F.pad(x, (3,) * 4, mode="reflect"), "decoder.model.8"))


def test_imported_network_computes_what_the_authors_does(official: State, tmp_path: Path) -> None:
    source, target = tmp_path / "iter_100000.pth", tmp_path / "authors.safetensors"
    torch.save({"network": official}, source)
    card = import_official(source, target, "authors")
    model = load_checkpoint(target).model
    assert card["parameters"] == 39_220_641
    ct, mr = torch.rand((2, 1, 1, 384, 384), generator=torch.Generator().manual_seed(6))
    with torch.inference_mode():
        latent = model.encode(ct, mr)
        for lam in (0.0, 0.37, 1.0):
            expected = reference(official, ct, mr, lam)
            assert expected.std() > 0.01
            assert (model.decode(latent, lam) - expected.clamp(0, 1)).abs().max() < 1e-4


def test_doubled_keys_must_agree(official: State) -> None:
    state = dict(official)
    state[f"{BLOCK}2.weight"] = state[f"{BLOCK}2.weight"] + 1
    with pytest.raises(InputError, match="two copies"):
        from_official(state)


def test_foreign_weights_are_refused(official: State, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lack 'G_D\.bias'"):
        from_official({k: v for k, v in official.items() if k != "G_D.bias"})
    with pytest.raises(InputError, match="hold 'extra'"):
        from_official(official | {"extra": torch.zeros(1)})
    with pytest.raises(InputError, match="other shapes"):
        from_official(official | {"G_D.weight": torch.zeros(7, 1)})
    with pytest.raises(InputError, match="does not exist"):
        import_official(tmp_path / "none.pth", tmp_path / "x.safetensors", "x")
    bad = tmp_path / "bad.pth"
    bad.write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(InputError, match="damaged or holds more than tensors"):
        import_official(bad, tmp_path / "x.safetensors", "x")
    torch.save({"network": 3}, bad)
    with pytest.raises(InputError, match="does not hold the weights"):
        import_official(bad, tmp_path / "x.safetensors", "x")
    assert not (tmp_path / "x.safetensors").exists()


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (eval, ("1/0",))


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    source = tmp_path / "evil.pth"
    torch.save({"network": _Evil()}, source)
    with pytest.raises(InputError, match="more than tensors"):
        import_official(source, tmp_path / "x.safetensors", "x")
