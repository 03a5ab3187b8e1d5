"""The flags of `images`."""

import dataclasses
from pathlib import Path
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags; the defaults are scikit-learn's digits in less than a minute."""

    dataset: str = "digits"
    """digits, mnist, fashion_mnist, static_binarized_mnist, frey_faces, cifar10, a folder of
    images, or an .npy or .npz file."""
    data_dir: Path | None = None
    """Where named data sets are looked for and downloaded to. Default: what the environment
    variable VAE_JAX_DATA names, else ~/.cache/vae_jax."""
    model: Literal["mlp", "conv"] = "conv"
    """Dense or convolutional networks."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the dense encoder's hidden layers; the decoder's are the same, reversed."""
    widths: tuple[int, ...] = (32, 64)
    """Channels of the convolutional encoder's stages, each of which halves the image."""
    blocks: int = 0
    """Residual blocks of each stage."""
    activation: str = "relu"
    """relu, tanh, gelu, silu, elu or softplus."""
    latent_dim: int = 8
    """Latent dimensions."""
    likelihood: str = "discretized_logistic"
    """bernoulli, continuous_bernoulli, normal, laplace, student_t, discretized_logistic,
    beta_binomial or squared_error, with arguments as in "normal(std=0.1)"."""
    form: Literal["auto", "scaled", "dequantized", "binarized", "bits"] = "auto"
    """What becomes of the pixels. auto: the form over which the likelihood is one."""
    objective: str = "elbo"
    """elbo, iwae, miwae, ciwae, piwae, tcvae, infovae, wae, dip, capacity or teaching, with
    arguments as in "iwae(num_samples=8)"."""
    prior: str = "standard_normal"
    """standard_normal, mixture_of_normals, vamp_prior or flow_prior, with arguments."""
    posterior: str = "diagonal_normal"
    """diagonal_normal or coupling_flow, with arguments."""
    conditional: bool = False
    """Give encoder and decoder the class label."""
    hold_out: int | None = None
    """Train without this class, and say how well the test images of it are told from others."""
    epochs: int = 60
    """The most passes over the training images."""
    batch_size: int = 64
    """Images in a step."""
    learning_rate: float = 2e-3
    """Adam's step size."""
    decay: Literal["none", "cosine"] = "cosine"
    """Whether the step size falls to a hundredth of itself, along a cosine, by the last epoch."""
    clip: float | None = None
    """Largest norm of the gradient."""
    beta: float = 1.0
    """Weight of the KL term."""
    schedule: Literal["constant", "linear_warmup", "cyclical", "sigmoid"] = "constant"
    """How beta is reached."""
    patience: int | None = 10
    """Epochs without a better validation bound before the training ends; none: never."""
    seeds: int = 1
    """Models, trained side by side from the seeds seed, seed + 1, ...; the best is shown."""
    seed: int = 0
    """The first of the seeds, and that of the figures."""
    samples: int = 500
    """Importance samples for each test image."""
    test_images: int = 1000
    """Test images, the first ones, of which log p(x) is taken."""
    out: Path = Path("results/images")
    """Folder of the run. An older run in it is moved aside, unless it is resumed."""
    resume: bool = False
    """Go on with the run in the folder."""

    def kept(self) -> dict[str, Any]:
        """What must be the same on resuming, as JSON takes it."""
        free = ("out", "resume", "samples", "test_images")
        values = {k: v for k, v in dataclasses.asdict(self).items() if k not in free}
        return values | {"data_dir": None if self.data_dir is None else str(self.data_dir)}
