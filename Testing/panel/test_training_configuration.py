"""Section 2 of the training panel: presets, fields, the table of every setting, files; what is shown is what is run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from training_opened import OpenedTraining, use_fakes
from turns import settle

from MSLFusionTrainingLib.config import PRESETS, TrainConfig
from MSLFusionTrainingLib.configfile import SETTINGS


@pytest.fixture
def opened(slicer_app: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenedTraining]:
    use_fakes(monkeypatch)
    panel = OpenedTraining()
    yield panel
    panel.close()


def settings(opened: OpenedTraining) -> Any:
    return opened.panel.configuration.settings


def given(opened: OpenedTraining, tmp_path: Path) -> TrainConfig:
    """What a process would read."""
    path = tmp_path / "given.toml"
    path.write_text(opened.panel.config_text(), encoding="utf-8")
    return TrainConfig.from_file(path)


def put(opened: OpenedTraining, name: str, text: str) -> None:
    """Type a value into the table of every setting."""
    table = opened.ui.settingsTable
    row = next(r for r in range(table.rowCount) if table.item(r, 0).text() == name)
    table.item(row, 1).setText(text)
    settle()


def cell(opened: OpenedTraining, name: str) -> Any:
    table = opened.ui.settingsTable
    return next(table.item(r, 1) for r in range(table.rowCount) if table.item(r, 0).text() == name)


def enter(widget: Any, text: str) -> None:
    widget.text = text
    widget._q.editingFinished.emit()
    settle()


def test_each_preset_is_told_and_given_as_it_is(opened: OpenedTraining, tmp_path: Path) -> None:
    from MSLFusionTrainingLib.config import training_preset

    selector = opened.ui.presetSelector
    assert {selector.itemData(i) for i in range(selector.count)} == set(PRESETS)
    for index in range(selector.count):
        selector.setCurrentIndex(index)
        settle()
        assert given(opened, tmp_path) == training_preset(selector.itemData(index))
        assert opened.ui.presetInfo.text.endswith(".")
        assert opened.ui.changesInfo.text == "All settings are those of the preset."


def test_fields_change_settings_and_show_them(opened: OpenedTraining, tmp_path: Path) -> None:
    ui = opened.ui
    ui.iterationsSpinBox.value = 200
    ui.emaSpinBox.value = 0.9
    ui.scheduleSelector.setCurrentIndex(0)
    ui.augmentCheckBox.checked = False
    enter(ui.viewsLineEdit, "16, 24")
    enter(ui.learningRateLineEdit, "1e-4")
    settle()
    found = given(opened, tmp_path)
    assert (found.iterations, found.ema, found.schedule, found.augment) == (200, 0.9, "halving", False)
    assert (found.views, found.learning_rate) == ((16, 24), 1e-4)
    assert "iterations = 200" in ui.changesInfo.text
    assert cell(opened, "views").text() == "16, 24"
    assert cell(opened, "views").font().bold()
    assert not cell(opened, "betas").font().bold()
    ui.resetButton.click()
    settle()
    assert ui.iterationsSpinBox.value == 100_000
    assert ui.viewsLineEdit.text == "64, 32, 48, 96, 128"
    assert not ui.resetButton.enabled


def test_a_value_as_the_preset_has_it_is_no_change(opened: OpenedTraining) -> None:
    opened.ui.batchSpinBox.value = 5
    opened.ui.batchSpinBox.value = 4
    settle()
    assert settings(opened).changes == {}
    assert opened.parameters.configuration.changes == ""


def test_a_text_that_is_no_value_stays_in_its_field_and_blocks_the_start(opened: OpenedTraining) -> None:
    from MSLFusionLib.errors import InputError

    enter(opened.ui.viewsLineEdit, "many")
    assert opened.text("viewsMessage").startswith("'many' is no value for views")
    assert opened.kind("viewsMessage") == "error"
    assert opened.ui.viewsLineEdit.text == "many"
    assert not opened.ui.saveConfigurationButton.enabled
    with pytest.raises(InputError, match="many"):
        opened.panel.config_text()
    enter(opened.ui.viewsLineEdit, "")
    assert "at least one value" in opened.text("viewsMessage")
    enter(opened.ui.viewsLineEdit, "64, 32, 48, 96, 128")
    assert opened.problems() == []
    enter(opened.ui.viewsLineEdit, "many")
    opened.ui.resetButton.click()
    settle()
    assert opened.ui.viewsLineEdit.text == "64, 32, 48, 96, 128"
    assert opened.problems() == []


def test_every_setting_is_in_the_table_and_can_be_changed(opened: OpenedTraining, tmp_path: Path) -> None:
    table = opened.ui.settingsTable
    assert [table.item(r, 0).text() for r in range(table.rowCount)] == [one for one in SETTINGS if one != "preset"]
    put(opened, "model", "width = 8")
    put(opened, "front_ends", "image, image")
    put(opened, "compile", "yes")
    found = given(opened, tmp_path)
    assert (found.model, found.front_ends, found.compile) == ({"width": 8}, ("image", "image"), True)
    assert cell(opened, "compile").text() == "true"
    put(opened, "crop", "20")
    assert "multiples of 16" in opened.text("settingsMessage")
    assert cell(opened, "crop").text() == "0"
    put(opened, "crop", "wide")
    assert "'wide' is no value for crop" in opened.text("settingsMessage")
    put(opened, "crop", "32")
    assert opened.text("settingsMessage") == ""
    assert given(opened, tmp_path).crop == 32


def test_settings_are_found_by_name_and_meaning_and_a_typo_has_a_nearest_one(opened: OpenedTraining) -> None:
    table = opened.ui.settingsTable

    def shown() -> list[str]:
        return [table.item(r, 0).text() for r in range(table.rowCount) if not table.isRowHidden(r)]

    opened.ui.findLineEdit.text = "gradient"
    settle()
    assert shown() == ["clip"]
    opened.ui.findLineEdit.text = "lerning_rate"
    settle()
    assert shown() == []
    assert opened.text("findMessage") == "There is no setting “lerning_rate”. Did you mean “learning_rate”?"
    opened.ui.findLineEdit.text = ""
    settle()
    assert len(shown()) == table.rowCount


def test_what_the_data_decide_is_shown_and_cannot_be_typed(opened: OpenedTraining) -> None:
    import qt

    assert not cell(opened, "modalities").flags() & qt.Qt.ItemIsEditable
    assert cell(opened, "size").flags() & qt.Qt.ItemIsEditable
    opened.parameters.data.modalities = "ct t2"
    settle()
    assert cell(opened, "modalities").text() == "ct, t2"
    assert cell(opened, "name").text() == "msl-ct-t2"
    put(opened, "name", "mine")
    assert settings(opened).config.name == "mine"


def test_a_file_is_saved_and_loaded(opened: OpenedTraining, slicer_app: Any, tmp_path: Path) -> None:
    path = tmp_path / "CONFIG.toml"
    opened.ui.presetSelector.setCurrentIndex(opened.ui.presetSelector.findData("paper"))
    opened.ui.batchSpinBox.value = 2
    opened.ui.headsSpinBox.value = 3
    opened.parameters.data.modalities = "ct t2"
    settle()
    before = given(opened, tmp_path)
    slicer_app.dialogs.answers = [str(path.with_suffix("")), str(path)]
    opened.ui.saveConfigurationButton.click()
    settle()
    assert opened.text("configurationMessage") == "The settings were saved."
    assert TrainConfig.from_file(path) == before
    opened.ui.presetSelector.setCurrentIndex(0)
    opened.ui.headsSpinBox.value = 48
    opened.parameters.data.modalities = "ct t1"
    settle()
    opened.ui.loadConfigurationButton.click()
    settle()
    assert opened.text("configurationMessage") == "The settings were loaded."
    assert given(opened, tmp_path) == before
    assert opened.ui.modalitiesSelector.currentText == "CT + T2"


def test_a_file_with_a_training_set_chooses_it(opened: OpenedTraining, tmp_path: Path) -> None:
    from MSLFusionTrainingPanel.parameters import DataSource

    path = tmp_path / "CONFIG.toml"
    path.write_text('data = "set.h5"\nbatch = 2\n')
    opened.panel.configuration.load(str(path))
    settle()
    assert opened.parameters.data.source is DataSource.SET
    assert opened.ui.setPath.currentPath == str(tmp_path / "set.h5")
    assert settings(opened).changes == {"batch": 2}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lerning_rate = 1.0\n", "Did you mean 'learning_rate'"),
        ("batch = 0\n", "larger than 0"),
        ("batch = \n", "cannot be read"),
        ("preset = 'best'\n", "no preset 'best'"),
    ],
)
def test_a_file_that_is_no_configuration_changes_nothing(
    opened: OpenedTraining, tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    opened.ui.batchSpinBox.value = 7
    settle()
    opened.panel.configuration.load(str(path))
    settle()
    assert said in opened.text("configurationMessage")
    assert opened.kind("configurationMessage") == "failure"
    assert settings(opened).changes == {"batch": 7}


def test_parameters_of_another_version_do_not_break_the_panel(opened: OpenedTraining) -> None:
    opened.parameters.configuration.preset = "of-tomorrow"
    opened.parameters.configuration.changes = "batch = 2\nnew_setting = 5\n"
    settle()
    assert "no preset 'of-tomorrow'" in opened.text("configurationMessage")
    opened.ui.presetSelector.setCurrentIndex(0)
    settle()
    assert opened.text("configurationMessage") == ""
    opened.parameters.configuration.changes = "batch = 2\nnew_setting = 5\n"
    settle()
    assert "'new_setting' is unknown" in opened.text("configurationMessage")
    opened.ui.resetButton.click()
    settle()
    assert opened.text("configurationMessage") == ""
    opened.parameters.configuration.changes = "= no TOML"
    settle()
    assert opened.text("configurationMessage") == ""
