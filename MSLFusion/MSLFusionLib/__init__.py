"""Joint CT and MRI reconstruction from sparse sensor data with multi-sensor learning (Zhu et al., TPAMI 2024)."""

__version__ = "0.1.0"
