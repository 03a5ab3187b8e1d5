"""A VAE as text and back; the text can call nothing but the parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny_vae
from tables import NETWORKS

import vae_jax
from vae_jax.networks import ACTIVATIONS
from vae_jax.spec import PARTS, describe, rebuild


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", [vae_jax.MLPEncoder, vae_jax.MLPDecoder])
def test_networks_come_back_from_their_text(kind, activation):
    """from_text(to_text(network)) = network, for every activation that has a name."""
    for network in (kind(3, (), ACTIVATIONS[activation]), kind(1, (4, 5), ACTIVATIONS[activation])):
        assert vae_jax.from_text(vae_jax.to_text(network)) == network


@pytest.mark.parametrize(
    "part",
    [
        vae_jax.normal(initial_std=1e-3),
        vae_jax.normal(std=7),
        vae_jax.normal(std=np.float64(0.25)),
        vae_jax.normal(initial_std=np.float32(0.25)),
        vae_jax.normal(initial_std=0.5, learned="per_dim"),
        vae_jax.normal(learned="decoder"),
        vae_jax.laplace(np.float32(2)),
        vae_jax.student_t(np.int64(4), initial_scale=0.2, learned="per_dim"),
        vae_jax.student_t(4.5, 2),
        vae_jax.discretized_logistic(initial_scale=0.02, learned="decoder"),
        vae_jax.beta_binomial(np.int64(15)),
        vae_jax.categorical(np.uint8(4)),
        vae_jax.standard_normal(np.int64(3)),
        vae_jax.MLPEncoder(np.int64(3), (np.int32(4),)),
        vae_jax.ConvEncoder(np.int64(3), [np.int32(4), 5], np.int8(0), activation=jnp.tanh),
        vae_jax.ConvDecoder([np.int64(5), 4, 3], 2, (7,), blocks=2, kernel=np.int64(6)),
    ],
)
def test_arguments_of_any_number_type_come_back(part):
    """The text holds plain numbers, whatever type they were given as."""
    text = vae_jax.to_text(part)
    assert vae_jax.to_text(vae_jax.from_text(text)) == text


@pytest.mark.parametrize("text", ["normal", " normal() ", "normal(std=None)", "normal(None)"])
def test_a_name_alone_is_a_call_without_arguments(text):
    """Spaces, missing parentheses and default arguments do not matter."""
    assert vae_jax.from_text(text).text == "normal()"


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "__import__('os').system('true')",
        "os.system('true')",
        "normal.__class__",
        "normal().log_prob",
        "normal(std=__import__('os'))",
        "normal(std=(1).real)",
        "normal(std=[n for n in (1, 2)])",
        "normal(std=1 if True else 2)",
        "normal(*[1])",
        "normal()()",
        "(lambda: normal())()",
        "MLPEncoder(activation=print)",
        "eval('1')",
        "normal(",
        "normal() normal()",
        "x = normal()",
        "",
        "\0",
        "(" * 5000,
        "-" * 5000 + "1",
    ],
)
def test_text_that_is_more_than_a_call_of_a_part_is_refused(text):
    """Code, attributes, unknown names and broken text: ValueError, and nothing runs."""
    with pytest.raises(ValueError, match=r"no part named|is not a call|must be plain"):
        vae_jax.from_text(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [("nromal()", "normal"), ("Bernoulli", "bernoulli"), ("MLPEncodr(2)", "MLPEncoder")],
)
def test_a_misspelt_name_brings_the_nearest_valid_one(text, name):
    """ "did you mean", or the list of all names."""
    with pytest.raises(ValueError, match=f"did you mean {name}"):
        vae_jax.from_text(text)
    with pytest.raises(ValueError, match="known are") as error:
        vae_jax.from_text("xyzzy()")
    assert all(part in str(error.value) for part in PARTS)


@pytest.mark.parametrize("text", ["normal(sd=1)", "bernoulli(1)", "standard_normal()"])
def test_arguments_that_a_part_does_not_have_are_refused(text):
    """TypeError with the text."""
    with pytest.raises(TypeError) as error:
        vae_jax.from_text(text)
    assert text in str(error.value)


def test_a_vae_comes_back_from_its_description():
    """rebuild(describe(vae)) computes the same function, and describes itself the same."""
    vae = tiny_vae(vae_jax.normal(std=0.3))
    again = rebuild(describe(vae))
    assert describe(again) == describe(vae)
    params, x = vae.init(jax.random.key(0)), jnp.array([0.1, 0.2, 0.3])
    np.testing.assert_array_equal(again.encode(params, x), vae.encode(params, x))
    with pytest.raises(ValueError, match="lacks prior"):
        rebuild({name: text for name, text in describe(vae).items() if name != "prior"})


@pytest.mark.parametrize("name", ["own Flax module", "raw arrays"])
def test_parts_of_the_users_own_have_no_text(name):
    """to_text gives None for them, for subclasses and for nameless activations."""

    class Encoder(vae_jax.MLPEncoder):
        """A subclass may do anything."""

    row = NETWORKS[name]
    assert vae_jax.to_text(row.encoder(2)) is None
    assert vae_jax.to_text(row.decoder(2)) is None
    assert vae_jax.to_text(Encoder(2)) is None
    assert vae_jax.to_text(vae_jax.MLPEncoder(2, (3,), lambda x: x)) is None
    own = vae_jax.normal()._replace(text="own()")
    assert vae_jax.to_text(own) is None


def test_an_argument_given_twice_is_refused():
    """Python refuses f(a=1, a=2), and so does from_text."""
    with pytest.raises(ValueError, match="twice"):
        vae_jax.from_text("normal(std=1.0, std=2.0)")


@pytest.mark.parametrize("kind", [vae_jax.MLPEncoder, vae_jax.MLPDecoder])
def test_an_activation_is_a_function(kind):
    """A name in quotes is refused when the network is made, not when it is run."""
    with pytest.raises(TypeError, match="activation"):
        kind(2, (3,), "relu")
