"""The process that holds a model and cached latents and answers requests on its standard streams (Docs/worker.md).

A thread reads requests into the inbox, so that cancelling acts while the main thread computes; only the main thread
writes. Torch is imported by the first request that needs it.
"""

from MSLFusionLib.worker.serve import serve

__all__ = ["serve"]
