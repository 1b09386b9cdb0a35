"""The process that holds a model and cached latents and answers requests (Docs/worker.md): on its standard streams, or
as a server on a loopback port.

A thread reads requests into the inbox, so that cancelling acts while the main thread computes; only the main thread
writes. Torch is imported by the first request that needs it.
"""

from MSLFusionLib.worker.loopback import HOST, listen
from MSLFusionLib.worker.serve import serve

__all__ = ["HOST", "listen", "serve"]
