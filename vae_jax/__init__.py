"""Variational autoencoders in JAX and Flax, functional throughout.

A VAE is a choice of network, likelihood, prior and bound; each is a small record of pure
functions. `build_vae` joins them, `make_*` turns them into a loss, `train_step` and `train_scan`
train it, `replicate` trains many at once. Start at `build_vae`; DESIGN.md beside this file
explains the rest.
"""

from vae_jax import processes, schedules
from vae_jax.data import (
    Images,
    Standardization,
    Stream,
    Table,
    array_batches,
    image_batches,
    image_values,
    learn_standardization,
    load_images,
    load_table,
    stream_batches,
    stream_files,
    swiss_roll,
    swiss_roll_batches,
)
from vae_jax.devices import make_mesh, shard_batches, use_all_cores
from vae_jax.draws import Draw, draw, log_weight, start_at_rows
from vae_jax.epochs import Epochs, train_epochs
from vae_jax.evaluate import (
    codes,
    decode_mean,
    kl_per_dim,
    posterior,
    reconstruct,
    sample,
    sample_prior,
)
from vae_jax.expost import aggregate_codes, fit_flow, fit_mixture
from vae_jax.fit import Fit, fit
from vae_jax.gaussian import kl_standard_normal, normal_log_prob, reparameterize
from vae_jax.interrupts import Interrupted
from vae_jax.keeper import NotSaved
from vae_jax.likelihoods import (
    Likelihood,
    bernoulli,
    beta_binomial,
    categorical,
    continuous_bernoulli,
    discretized_logistic,
    laplace,
    negative_binomial,
    normal,
    poisson,
    squared_error,
    student_t,
)
from vae_jax.marginal import Marginal, log_marginal
from vae_jax.model import VAE, build_vae
from vae_jax.networks import (
    BoundedEncoder,
    ConvDecoder,
    ConvEncoder,
    MLPDecoder,
    MLPEncoder,
    Network,
)
from vae_jax.numerics import log_mean_exp
from vae_jax.objectives import (
    add_critic,
    elbo,
    make_capacity,
    make_ciwae,
    make_dip,
    make_elbo,
    make_factor,
    make_infovae,
    make_iwae,
    make_miwae,
    make_piwae,
    make_tcvae,
    make_teaching,
    make_vq,
    make_wae,
    teaching_std,
)
from vae_jax.patience import Course
from vae_jax.posteriors import Posterior, coupling_flow, diagonal_normal
from vae_jax.priors import (
    Prior,
    codebook,
    flow_prior,
    mixture_of_normals,
    standard_normal,
    vamp_prior,
)
from vae_jax.replicas import Problem
from vae_jax.results import Sweep, load_sweep, replica
from vae_jax.run_folder import Run, load_run
from vae_jax.scores import (
    active_units,
    bits_per_dim,
    mutual_information,
    mutual_information_gap,
)
from vae_jax.shards import merge_shards
from vae_jax.spec import from_text, to_text
from vae_jax.sweep import sweep
from vae_jax.table import product
from vae_jax.tensorboard import tensorboard_log
from vae_jax.testbed import linear_gaussian, quadrature
from vae_jax.train import TrainState, init_train_state, replicate, train_scan, train_step
from vae_jax.train_stream import chunk_batches, train_stream
from vae_jax.walks import interpolate, traverse

__all__ = [
    "VAE",
    "BoundedEncoder",
    "ConvDecoder",
    "ConvEncoder",
    "Course",
    "Draw",
    "Epochs",
    "Fit",
    "Images",
    "Interrupted",
    "Likelihood",
    "MLPDecoder",
    "MLPEncoder",
    "Marginal",
    "Network",
    "NotSaved",
    "Posterior",
    "Prior",
    "Problem",
    "Run",
    "Standardization",
    "Stream",
    "Sweep",
    "Table",
    "TrainState",
    "active_units",
    "add_critic",
    "aggregate_codes",
    "array_batches",
    "bernoulli",
    "beta_binomial",
    "bits_per_dim",
    "build_vae",
    "categorical",
    "chunk_batches",
    "codebook",
    "codes",
    "continuous_bernoulli",
    "coupling_flow",
    "decode_mean",
    "diagonal_normal",
    "discretized_logistic",
    "draw",
    "elbo",
    "fit",
    "fit_flow",
    "fit_mixture",
    "flow_prior",
    "from_text",
    "image_batches",
    "image_values",
    "init_train_state",
    "interpolate",
    "kl_per_dim",
    "kl_standard_normal",
    "laplace",
    "learn_standardization",
    "linear_gaussian",
    "load_images",
    "load_run",
    "load_sweep",
    "load_table",
    "log_marginal",
    "log_mean_exp",
    "log_weight",
    "make_capacity",
    "make_ciwae",
    "make_dip",
    "make_elbo",
    "make_factor",
    "make_infovae",
    "make_iwae",
    "make_mesh",
    "make_miwae",
    "make_piwae",
    "make_tcvae",
    "make_teaching",
    "make_vq",
    "make_wae",
    "merge_shards",
    "mixture_of_normals",
    "mutual_information",
    "mutual_information_gap",
    "negative_binomial",
    "normal",
    "normal_log_prob",
    "poisson",
    "posterior",
    "processes",
    "product",
    "quadrature",
    "reconstruct",
    "reparameterize",
    "replica",
    "replicate",
    "sample",
    "sample_prior",
    "schedules",
    "shard_batches",
    "squared_error",
    "standard_normal",
    "start_at_rows",
    "stream_batches",
    "stream_files",
    "student_t",
    "sweep",
    "swiss_roll",
    "swiss_roll_batches",
    "teaching_std",
    "tensorboard_log",
    "to_text",
    "train_epochs",
    "train_scan",
    "train_step",
    "train_stream",
    "traverse",
    "use_all_cores",
    "vamp_prior",
]
