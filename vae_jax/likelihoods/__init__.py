"""p(x | z): one function per family, each returning a record of pure functions of one example.

To add one: write a function that returns a `Likelihood`, name it in `__all__` below, re-export it
from `vae_jax`, and add a row to LIKELIHOODS in
tests/likelihood_table.py.
"""

from vae_jax.likelihoods.bits import bernoulli, continuous_bernoulli
from vae_jax.likelihoods.counts import categorical, negative_binomial, poisson
from vae_jax.likelihoods.pixels import beta_binomial, discretized_logistic
from vae_jax.likelihoods.reals import laplace, normal, squared_error, student_t
from vae_jax.likelihoods.record import Likelihood as Likelihood

__all__ = [
    "bernoulli",
    "beta_binomial",
    "categorical",
    "continuous_bernoulli",
    "discretized_logistic",
    "laplace",
    "negative_binomial",
    "normal",
    "poisson",
    "squared_error",
    "student_t",
]
"""The families, which is what `from_text` may call; `Likelihood` is their record."""
