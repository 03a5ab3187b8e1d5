"""From the flags of an image run to its data, its VAE and its loss."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

import vae_jax as vj
from experiments.image_settings import Settings
from vae_jax.checks import check_count
from vae_jax.data.images import Images, load_images
from vae_jax.networks import ACTIVATIONS

LEVELS, DENSITY, BITS = "levels", "density", "bits"

FORMS: dict[str, tuple[str, str]] = {
    "bernoulli": ("binarized", BITS),
    "continuous_bernoulli": ("dequantized", DENSITY),
    "normal": ("dequantized", DENSITY),
    "laplace": ("dequantized", DENSITY),
    "student_t": ("dequantized", DENSITY),
    "discretized_logistic": ("scaled", LEVELS),
    "beta_binomial": ("scaled", LEVELS),
    "squared_error": ("scaled", "no density"),
}
"""Likelihood -> the form of `image_batches` that it is over, and what its log_prob then is."""


class Task(NamedTuple):
    """What a run is on. Images are uint8 [N, H, W, C]; a split is rows of all its arrays."""

    images: Images
    num_classes: int
    conditional: bool
    flat: bool
    """Whether the networks see [D] in place of [H, W, C]."""
    form: str
    kind: str
    """What log_prob is of: levels, a density, bits, or no density."""
    train: Any
    validation: Any
    test: Any
    """(uint8 images, labels or None) each."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an image."""
        return tuple(self.images.train.shape[1:])


def load_task(settings: Settings) -> Task:
    """The images, split and described.

    Raises:
        ValueError: a likelihood without a form, labels that are needed and missing, no such class.
    """
    form, kind = choose_form(settings)
    images = load_images(settings.dataset, settings.data_dir)
    if images.train_labels is None and (settings.conditional or settings.hold_out is not None):
        flag = "--conditional" if settings.conditional else "--hold-out"
        raise ValueError(f"{flag} needs class labels, {images.name} has none.")
    if settings.conditional and settings.hold_out is not None:
        raise ValueError("--conditional cannot be told a class that --hold-out has left out.")
    is_bits = max(images.train.max(), images.test.max()) <= 1
    if is_bits and kind == BITS and settings.form == "auto":
        form = "bits"
    if form == "bits" and not is_bits:
        raise ValueError(f"The form bits is for images of 0 and 1; {images.name} has grey levels.")
    if is_bits and form != "bits":
        raise ValueError(f"{images.name} holds bits: use --likelihood bernoulli.")
    if settings.form != "auto" and form != FORMS[_name(settings.likelihood)][0] and form != "bits":
        kind = "no density"
    labels, held = images.train_labels, settings.hold_out
    kept = np.ones(len(images.train), bool) if held is None else labels != held
    if held is not None and kept.all():
        raise ValueError(f"There is no class {held} in {images.name}; use 0 to {labels.max()}.")
    rows = np.flatnonzero(kept)
    order = np.random.default_rng(0).permutation(len(rows))
    rest = max(1, len(rows) // 10)
    parts = [np.sort(rows[order[rest:]]), np.sort(rows[order[:rest]])]
    train, validation = (
        (images.train[part], None if labels is None else labels[part]) for part in parts
    )
    num_classes = 0 if labels is None else 1 + int(max(labels.max(), images.test_labels.max()))
    return Task(
        images, num_classes, settings.conditional, settings.model == "mlp", form, kind, train,
        validation, (images.test, images.test_labels),
    )  # fmt: skip


def choose_form(settings: Settings) -> tuple[str, str]:
    """The form of the pixels, and what the likelihood's log_prob is of them."""
    name = vj.from_text(settings.likelihood, {n: lambda *a, n=n, **k: n for n in FORMS})
    form, kind = FORMS[name]
    return (form if settings.form == "auto" else settings.form), kind


def _name(text: str) -> str:
    return text.split("(")[0].strip()


def values(task: Task, part: Any, seed: int = 0) -> Any:
    """The images of a part as the VAE takes them: float32 [N, ...], with one noise for all uses;
    for a conditional VAE the pair with the one-hot labels."""
    images, labels = part
    blocks = range(0, len(images), 4096)
    rng = jax.random.key(seed)
    parts = [
        np.asarray(vj.image_values(jax.random.fold_in(rng, i), images[i : i + 4096], task.form))
        for i in blocks
    ]
    x = shaped(task, np.concatenate(parts))
    return (x, one_hot(task, labels)) if task.conditional else x


def shaped(task: Task, x: Any) -> Any:
    """Images as the networks see them."""
    return x.reshape(len(x), -1) if task.flat else x


def one_hot(task: Task, labels: Any) -> Any:
    return np.eye(task.num_classes, dtype=np.float32)[np.asarray(labels)]


def batches(task: Task, batch_size: int) -> Any:
    """The batch_fn over the arrays of a part (`training_arrays`)."""
    images, rows = vj.image_batches(batch_size, task.form), vj.array_batches(batch_size)

    def batch_fn(data: Any, rng: Any, step: Any) -> Any:
        if not task.conditional:
            return shaped(task, images(data, rng, step))
        # Both take the rows that belong to (rng, step), so image and label stay together.
        labels = rows(data[1], rng, step)
        return shaped(task, images(data[0], rng, step)), jax.nn.one_hot(labels, task.num_classes)

    return batch_fn


def training_arrays(task: Task) -> Any:
    return task.train if task.conditional else task.train[0]


def build(settings: Settings, task: Task) -> vj.VAE:
    """The VAE that the flags describe."""
    if settings.activation not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(f"There is no activation {settings.activation!r}; known are {known}.")
    activation = ACTIVATIONS[settings.activation]
    likelihood, shape = vj.from_text(settings.likelihood), task.shape
    dims, latent_dim = int(np.prod(shape)), check_count("latent_dim", settings.latent_dim)
    if settings.model == "mlp":
        encoder = vj.MLPEncoder(latent_dim, settings.hidden, activation)
        outputs = dims * likelihood.num_params
        decoder = vj.MLPDecoder(outputs, settings.hidden[::-1], activation)
    else:
        fields = {"widths": settings.widths, "blocks": settings.blocks, "activation": activation}
        encoder = vj.ConvEncoder(latent_dim, **fields)
        decoder = vj.ConvDecoder(shape, likelihood.num_params, **fields)
    named = ("standard_normal", "mixture_of_normals", "vamp_prior", "flow_prior")
    priors = {name: partial(getattr(vj, name), latent_dim) for name in named}
    posteriors = {"diagonal_normal": vj.diagonal_normal, "coupling_flow": vj.coupling_flow}
    vae = vj.build_vae(
        encoder, decoder, likelihood=likelihood, prior=vj.from_text(settings.prior, priors),
        data_shape=(dims,) if task.flat else shape,
        posterior=vj.from_text(settings.posterior, posteriors),
        condition_shape=(task.num_classes,) if task.conditional else None,
    )  # fmt: skip
    if vae.prior.text.startswith("vamp_prior"):
        x = values(task, (task.train[0][:5000], None))
        vae = vj.start_at_rows(vae, jax.random.key(settings.seed), x)
    return vae


OBJECTIVES = ("elbo", "teaching", "iwae", "miwae", "ciwae", "piwae", "tcvae", "infovae", "wae",
              "dip", "capacity")  # fmt: skip


def make_loss(settings: Settings, vae: vj.VAE) -> Any:
    """The loss that the flag names."""
    makers = {name: partial(getattr(vj, f"make_{name}"), vae) for name in OBJECTIVES}
    return vj.from_text(settings.objective, makers)


def check_values(vae: vj.VAE, task: Task) -> None:
    """Raises ValueError or TypeError unless the first validation images lie in the support."""
    part = (task.validation[0][:100], None)
    vae.likelihood.check(values(task._replace(conditional=False), part))
