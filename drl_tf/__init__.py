"""Energy-based models of images by diffusion recovery likelihood (Gao et al., ICLR 2021)."""

__version__ = '0.1.0'
