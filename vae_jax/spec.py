"""A VAE as text and back: the call that makes each part, e.g. "normal(std=0.1)".

The same words serve config.json, the command line and figure titles. Reading them calls only the
public constructors of `PARTS`, with literal arguments: a file can name nothing else.
"""

import ast
import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from vae_jax import likelihoods, networks, posteriors, priors
from vae_jax.model import VAE, build_vae

PARTS: dict[str, Any] = {
    "ConvEncoder": networks.ConvEncoder,
    "ConvDecoder": networks.ConvDecoder,
    "BoundedEncoder": networks.BoundedEncoder,
    "MLPEncoder": networks.MLPEncoder,
    "MLPDecoder": networks.MLPDecoder,
    **{name: getattr(likelihoods, name) for name in likelihoods.__all__},
    **{name: getattr(priors, name) for name in priors.__all__},
    **{name: getattr(posteriors, name) for name in posteriors.__all__},
}


def to_text(part: Any) -> str | None:
    """The call that makes this part of a VAE, or None for a part of
    the user's own, which no text can rebuild."""
    if isinstance(part, likelihoods.Likelihood | priors.Prior | posteriors.Posterior):
        return part.text if _called(part.text) in PARTS else None
    if PARTS.get(type(part).__name__) is not type(part):
        return None
    names = {id(function): name for name, function in networks.ACTIVATIONS.items()}
    fields = [f.name for f in dataclasses.fields(part) if f.name not in ("parent", "name")]
    values = {name: getattr(part, name) for name in fields}
    texts = {name: repr(value) for name, value in values.items()}
    if "activation" in values:
        texts["activation"] = names.get(id(values["activation"]), "")
    if "encoder" in values:
        texts["encoder"] = to_text(values["encoder"]) or ""
    if not all(texts.values()):
        return None
    arguments = [f"{name}={text}" for name, text in texts.items()]
    return f"{type(part).__name__}({', '.join(arguments)})"


def from_text(text: str, parts: Mapping[str, Any] = PARTS) -> Any:
    """The part that `text` describes: a name of `parts`, with literal arguments in parentheses.

    Raises:
        ValueError: the text is not such a call, with the nearest valid name.
        TypeError: the constructor refuses its arguments.
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{text!r} is not a call such as normal(std=0.1).") from error
    name = call.func if isinstance(call, ast.Call) else call
    if not isinstance(name, ast.Name) or name.id not in parts:
        near = difflib.get_close_matches(text.split("(")[0].strip(), parts, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(parts)}."
        raise ValueError(f"There is no part named {text.split('(')[0].strip()!r}; {hint}")
    if not isinstance(call, ast.Call):
        return parts[name.id]()
    keywords = {str(k.arg): _literal(k.value, text) for k in call.keywords}
    if len(keywords) < len(call.keywords):
        raise ValueError(f"{text!r} gives an argument twice.")
    try:
        return parts[name.id](*(_literal(value, text) for value in call.args), **keywords)
    except TypeError as error:
        raise TypeError(f"{text!r}: {error}") from error


def describe(vae: VAE) -> dict[str, Any]:
    """The VAE as JSON-able values; a part of the user's own is None."""
    return {
        "encoder": to_text(vae.encoder),
        "decoder": to_text(vae.decoder),
        "likelihood": to_text(vae.likelihood),
        "prior": to_text(vae.prior),
        "posterior": to_text(vae.posterior),
        "data_shape": list(vae.data_shape),
        "condition_shape": None if vae.condition_shape is None else list(vae.condition_shape),
    }


def rebuild(description: dict[str, Any]) -> VAE:
    """The VAE that `describe` described.

    Raises:
        ValueError: a part is missing, unknown, or was the user's own code.
    """
    description = {"posterior": "diagonal_normal()", "condition_shape": None} | description
    names = ("encoder", "decoder", "likelihood", "prior", "posterior")
    if missing := [n for n in (*names, "data_shape") if n not in description]:
        raise ValueError(f"The description of the VAE lacks {', '.join(missing)}.")
    if own := [name for name in names if description[name] is None]:
        raise ValueError(
            f"The {' and '.join(own)} of this run is not part of vae_jax, so it cannot be built "
            f"from the file: pass the VAE itself, load_run(path, vae=...)."
        )
    parts = {name: from_text(str(description[name])) for name in names}
    return build_vae(
        parts["encoder"],
        parts["decoder"],
        likelihood=parts["likelihood"],
        prior=parts["prior"],
        posterior=parts["posterior"],
        data_shape=description["data_shape"],
        condition_shape=description["condition_shape"],
    )


def _called(text: str) -> str:
    return text.split("(")[0]


def _literal(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.Name) and node.id in networks.ACTIVATIONS:
        return networks.ACTIVATIONS[node.id]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Encoder"):
        return from_text(ast.unparse(node))
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"{text!r}: arguments must be plain numbers, tuples or names.") from error
