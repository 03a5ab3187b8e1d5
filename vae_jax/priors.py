"""p(z): one function per family, each returning a record of pure functions of one latent.

To add one: write a function that returns a `Prior`, name it in `__all__`, re-export it from
`vae_jax`, and add a row to PRIORS in tests/tables.py.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vae_jax.checks import check_count, check_counts
from vae_jax.couplings import couple, init_couplings
from vae_jax.gaussian import kl_standard_normal, normal_log_prob
from vae_jax.types import Array, Key, Params

__all__ = ["codebook", "flow_prior", "mixture_of_normals", "standard_normal", "vamp_prior"]

Encode = Callable[[Array], tuple[Array, Array]]
"""x [*data_shape] -> (mean [Z], logvar [Z]): the encoder with its parameters."""


def _as_they_are(params: Params, encode: Encode) -> Any:
    return params


class Prior(NamedTuple):
    """p(z), in nats. `theta` is what its functions need of the VAE's parameters.

    `log_prob(theta, z [Z])` is [], `sample(theta, rng)` is [Z].
    """

    text: str
    """The call that makes this record, as `from_text` reads it."""
    latent_dim: int
    log_prob: Callable[[Any, Array], Array] | None
    """None where z is discrete, so that p(z) is not a density."""
    sample: Callable[[Any, Key], Array]
    kl_per_dim: Callable[[Any, Array, Array], Array] | None = None
    """theta, mean [Z], logvar [Z] -> [Z], which sums to KL(N(mean, exp(logvar)) || p(z)); None
    where there is no closed form."""
    init: Callable[[Key, tuple[int, ...]], Params] | None = None
    """rng, data_shape -> the learned parameters; None where nothing is learned."""
    theta: Callable[[Params, Encode], Any] = _as_they_are
    quantize: Callable[[Any, Array], Array] | None = None
    """theta, z [Z] -> the nearest latent that the prior knows, where z is discrete."""


def standard_normal(latent_dim: int) -> Prior:
    """N(0, I) over `latent_dim` dimensions; the KL is the closed form.

    Raises:
        TypeError, ValueError: `latent_dim` is not a whole number of at least 1.
    """
    latent_dim = check_count("latent_dim", latent_dim)

    def log_prob(theta: Any, z: Array) -> Array:
        return jnp.sum(normal_log_prob(z, jnp.zeros_like(z), jnp.zeros_like(z)), axis=-1)

    def kl_per_dim(theta: Any, mean: Array, logvar: Array) -> Array:
        return kl_standard_normal(mean, logvar)

    def sample(theta: Any, rng: Key) -> Array:
        return jax.random.normal(rng, (latent_dim,))

    text = f"standard_normal(latent_dim={latent_dim})"
    return Prior(text, latent_dim, log_prob, sample, kl_per_dim)


def mixture_of_normals(latent_dim: int, num_components: int = 10) -> Prior:
    """A learned mixture of diagonal Gaussians, sum_K w_k N(z; m_k, exp(l_k)); its KL is sampled.

    Parameters: `logits` [K], `mean` [K, Z], `logvar` [K, Z], started at equal weights, means drawn
    from N(0, I) and variances of 1. One component N(0, I) is the standard prior.

    Raises:
        TypeError, ValueError: a size is not a whole number of at least 1.
    """
    latent_dim = check_count("latent_dim", latent_dim)
    num_components = check_count("num_components", num_components)

    def init(rng: Key, data_shape: tuple[int, ...]) -> Params:
        shape = (num_components, latent_dim)
        mean = jax.random.normal(rng, shape)
        return {"logits": jnp.zeros(num_components), "mean": mean, "logvar": jnp.zeros(shape)}

    def theta(params: Params, encode: Encode) -> Any:
        return params["logits"], params["mean"], params["logvar"]

    text = f"mixture_of_normals(latent_dim={latent_dim}, num_components={num_components})"
    return Prior(text, latent_dim, _mixture_log_prob, _mixture_sample, init=init, theta=theta)


def vamp_prior(latent_dim: int, num_components: int = 500) -> Prior:
    """The mean of the posteriors of K learned pseudo-inputs u_k, 1/K sum_k q(z | u_k).

    It has the form of the aggregate posterior, which is the prior that maximises the ELBO.
    Parameters: `inputs` [K, *data_shape], started uniform on [0, 1]; `start_at_rows` starts them at
    rows of the data. Its KL is sampled.

    Raises:
        TypeError, ValueError: a size is not a whole number of at least 1.
    Source: Tomczak and Welling, arXiv:1705.07120, eq. 9.
    """
    latent_dim = check_count("latent_dim", latent_dim)
    num_components = check_count("num_components", num_components)

    def init(rng: Key, data_shape: tuple[int, ...]) -> Params:
        return {"inputs": jax.random.uniform(rng, (num_components, *data_shape))}

    def theta(params: Params, encode: Encode) -> Any:
        mean, logvar = jax.vmap(encode)(params["inputs"])
        return jnp.zeros(num_components), mean, logvar

    text = f"vamp_prior(latent_dim={latent_dim}, num_components={num_components})"
    return Prior(text, latent_dim, _mixture_log_prob, _mixture_sample, init=init, theta=theta)


def flow_prior(latent_dim: int, num_layers: int = 6, hidden: tuple[int, ...] = (64,)) -> Prior:
    """A learned invertible map of N(0, I): coupling layers, then a scale and a shift by dimension.

        log p(z) = log N(u; 0, I) + log |du / dz|,   u = inverse((z - shift) / exp(log_scale))

    Parameters: the layers of `init_couplings`, `shift` [Z] and `log_scale` [Z]. The untrained map
    is the identity, the prior N(0, I). One latent dimension has nothing to couple: there it is a
    Gaussian. Its KL is sampled.

    Raises:
        TypeError, ValueError: a size is not a whole number of at least 1.
    """
    latent_dim = check_count("latent_dim", latent_dim)
    num_layers, hidden = check_count("num_layers", num_layers), check_counts("hidden", hidden)
    depth, nothing = num_layers if latent_dim > 1 else 0, jnp.zeros(0)

    def init(rng: Key, data_shape: tuple[int, ...]) -> Params:
        ends = {"shift": jnp.zeros(latent_dim), "log_scale": jnp.zeros(latent_dim)}
        return init_couplings(rng, latent_dim, 0, depth, hidden) | ends

    def log_prob(theta: Params, z: Array) -> Array:
        start = (z - theta["shift"]) * jnp.exp(-theta["log_scale"])
        u, log_det = couple(theta, depth, start, nothing, inverse=True)
        base: Array = jnp.sum(normal_log_prob(u, jnp.zeros_like(u), jnp.zeros_like(u)))
        return base + log_det - jnp.sum(theta["log_scale"])

    def sample(theta: Params, rng: Key) -> Array:
        z, _ = couple(theta, depth, jax.random.normal(rng, (latent_dim,)), nothing)
        moved: Array = theta["shift"] + jnp.exp(theta["log_scale"]) * z
        return moved

    text = f"flow_prior(latent_dim={latent_dim}, num_layers={num_layers}, hidden={hidden})"
    return Prior(text, latent_dim, log_prob, sample, init=init)


def codebook(latent_dim: int, num_codes: int = 64, num_groups: int = 1) -> Prior:
    """Uniform over a learned codebook: z consists of `num_groups` codes, each one of `num_codes`.

    p(z) = num_codes^-num_groups for each of these z: a probability, not a density, so `make_vq`
    trains it and no bound that needs log p(z) takes it. Parameters: `codes` [G, C, Z / G].

    Raises:
        TypeError, ValueError: a size is not a whole number of at least 1, or `num_groups` does
            not divide `latent_dim`.
    Source: van den Oord et al., arXiv:1711.00937, section 3.1.
    """
    latent_dim = check_count("latent_dim", latent_dim)
    num_codes, num_groups = check_count("num_codes", num_codes), check_count("groups", num_groups)
    if latent_dim % num_groups:
        raise ValueError(f"num_groups={num_groups} must divide latent_dim={latent_dim}.")

    def init(rng: Key, data_shape: tuple[int, ...]) -> Params:
        return {"codes": jax.random.normal(rng, (num_groups, num_codes, latent_dim // num_groups))}

    def quantize(theta: Params, z: Array) -> Array:
        parts = z.reshape(num_groups, 1, -1)
        nearest = jnp.argmin(jnp.sum(jnp.square(parts - theta["codes"]), axis=-1), axis=-1)
        codes: Array = theta["codes"][jnp.arange(num_groups), nearest]
        return codes.reshape(-1)

    def sample(theta: Params, rng: Key) -> Array:
        chosen = jax.random.randint(rng, (num_groups,), 0, num_codes)
        codes: Array = theta["codes"][jnp.arange(num_groups), chosen]
        return codes.reshape(-1)

    text = f"codebook(latent_dim={latent_dim}, num_codes={num_codes}, num_groups={num_groups})"
    return Prior(text, latent_dim, None, sample, init=init, quantize=quantize)


def _mixture_log_prob(theta: Any, z: Array) -> Array:
    """log sum_K softmax(logits)_k N(z; mean_k, exp(logvar_k)): [].

    The value sums (z - mean)^2 exp(-logvar), which keeps its digits however narrow a component is.
    The gradient is that of the square multiplied out, where z and the components meet in matrix
    products: over a batch of 200 and 300 components of 40 dimensions four times as fast.
    """
    logits, mean, logvar = theta
    inside = normal_log_prob(z[:, None], mean.T, logvar.T)
    precision = jnp.exp(-logvar)
    squares = precision @ jnp.square(z) - 2.0 * ((mean * precision) @ z)
    rest = jnp.sum(jnp.square(mean) * precision + logvar, axis=-1)
    slope = -0.5 * (squares + rest)
    inside = jax.lax.stop_gradient(jnp.sum(inside, axis=0) - slope) + slope
    return jax.nn.logsumexp(jax.nn.log_softmax(logits) + inside, axis=-1)


def _mixture_sample(theta: Any, rng: Key) -> Array:
    logits, mean, logvar = theta
    rng_component, rng_eps = jax.random.split(rng)
    chosen = jax.random.categorical(rng_component, logits)
    eps = jax.random.normal(rng_eps, mean.shape[1:])
    z: Array = mean[chosen] + jnp.exp(0.5 * logvar[chosen]) * eps
    return z
