"""Training CMF-Net, or the plain U-Net to compare it with: settings, measurements, the loop, the model it gives."""
