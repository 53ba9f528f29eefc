"""Subjects out of the model classes of transformers; nothing is fetched."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rctheory.architectures.layout import Layout
from rctheory.architectures.registry import layout_of
from rctheory.contracts.subject import Config, Subject, load_state
from rctheory.errors import ContractError, MissingExtraError
from rctheory.numerics import generator

Store = Callable[[nn.Module], dict[str, Tensor]]
Load = Callable[[nn.Module, Mapping[str, Tensor]], nn.Module]
ATTENTION, EXPERTS = "sdpa", "eager"  # both work in float64


class KeepFloat64(TorchFunctionMode):
    """Leave float64 alone where a model asks for float32, so that a symmetry shows to rounding of float64."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Drop conversions to float32 of float64 tensors."""
        kwargs = dict(kwargs or {})
        if args and isinstance(args[0], Tensor) and args[0].dtype is torch.float64:
            if func is Tensor.float or (func is Tensor.to and torch.float32 in (*args[1:], kwargs.get("dtype"))):
                return args[0]
            if kwargs.get("dtype") is torch.float32:
                kwargs.pop("dtype")
        return func(*args, **kwargs)


def transformers_subject(
    name: str,
    model: str,
    config: Config,
    other_config: Config,
    *,
    declare: Callable[[Config], Layout] = layout_of,
    tokens: int = 5,
    known_failures: Mapping[str, str] | None = None,
) -> Subject:
    """Return the subject of a language model.

    Args:
        name: how tests call it.
        model: its class in transformers, such as `LlamaForCausalLM`.
        config: a tiny configuration with its `model_type`.
        other_config: another one, with as many different widths as possible and the same vocabulary.
        declare: takes a configuration, returns its layout.
        tokens: length of the two sequences on which models are compared; one token is the smallest input.
        known_failures: clauses that it is known to fail, with the reason.

    Raises:
        MissingExtraError: transformers is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError.of("transformers", "huggingface") from error
    logging: Any = transformers.utils.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    ids = torch.randint(int(config["vocab_size"]), (2, tokens), generator=generator(0, "tokens"))

    def build(entries: Config) -> nn.Module:
        return build_model(model, entries)

    names = _state_names(build(config))
    store, load = (store_by_saving, load_by_saving) if names is None else _renaming(names)
    return Subject(
        name=name,
        config=config,
        other_config=other_config,
        build=build,
        run=run_language_model,
        inputs=ids,
        declare=declare,
        single=ids[:1, :1],
        store=store,
        load=load,
        known_failures=known_failures or {},
    )


def build_model(model: str, config: Config) -> nn.Module:
    """Build a model from its class and configuration, in float64."""
    import transformers

    entries: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None, **config}
    of_model = transformers.AutoConfig.for_model(entries.pop("model_type"), **entries)
    of_model._attn_implementation, of_model._experts_implementation = ATTENTION, EXPERTS
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # constants such as Gemma's root of the width are made in it
    try:
        built: nn.Module = getattr(transformers, model)(of_model).double().eval()
    finally:
        torch.set_default_dtype(before)
    return built


def run_language_model(module: nn.Module, ids: Tensor) -> Tensor:
    """Return everything that a model says of sequences of tokens, one row for each."""
    inputs = {"input_ids": ids}
    types = getattr(module.config, "type_vocab_size", None)
    if types:
        inputs["token_type_ids"] = torch.arange(ids.numel()).reshape(ids.shape) % types
    with KeepFloat64():
        output = module(**inputs)
    said = [value.flatten(1) for key, value in output.items() if key.endswith("logits")]
    return torch.cat(said or [output[0].flatten(1)], dim=1)


def _state_names(module: nn.Module) -> dict[str, str] | None:
    """Return the stored names that differ from those in the state; None where stored tensors are other tensors.

    Which it is shows in a module with random weights: it is saved once, and what was stored is looked for in its state.
    """
    state, renamed = module.state_dict(), {}
    for name, tensor in store_by_saving(module).items():
        if name in state and torch.equal(state[name], tensor):
            continue
        same = [key for key, value in state.items() if value.shape == tensor.shape and torch.equal(value, tensor)]
        if not same or any(character.isdecimal() for character in name):  # a layer's name holds for this model alone
            return None
        renamed[name] = same[0]
    return renamed


def _renaming(names: Mapping[str, str]) -> tuple[Store, Load]:
    """Return how to store and to load a module whose state is what is stored, under other names."""
    ours = {theirs: name for name, theirs in names.items()}

    def store(module: nn.Module) -> dict[str, Tensor]:
        state: dict[str, Tensor] = {}
        held: set[int] = set()
        for name, tensor in module.state_dict().items():
            if tensor.data_ptr() not in held:  # a tied head is stored once, under the name of the embedding
                state[ours.get(name, name)] = tensor
            held.add(tensor.data_ptr())
        return state

    def load(module: nn.Module, stored: Mapping[str, Tensor]) -> nn.Module:
        return load_state(module, {names.get(name, name): tensor for name, tensor in stored.items()})

    return store, load


def store_by_saving(module: nn.Module) -> dict[str, Tensor]:
    """Return what transformers stores of a module, where that is not its state (experts stored apart)."""
    with TemporaryDirectory() as folder:
        module.save_pretrained(folder)  # type: ignore[operator]
        return load_file(Path(folder) / "model.safetensors")


def load_by_saving(module: nn.Module, stored: Mapping[str, Tensor]) -> nn.Module:
    """Return the model that transformers makes of stored tensors; every weight must be there, and none too many.

    Raises:
        ContractError: transformers misses a tensor, does not expect one, or finds another shape.
    """
    with TemporaryDirectory() as folder:
        save_file(dict(stored), Path(folder) / "model.safetensors", metadata={"format": "pt"})
        module.config.save_pretrained(folder)  # type: ignore[operator,union-attr]
        loaded, told = type(module).from_pretrained(  # type: ignore[attr-defined]
            folder,
            dtype=torch.float64,
            attn_implementation=ATTENTION,
            experts_implementation=EXPERTS,
            output_loading_info=True,
            local_files_only=True,
        )
    problems = {kind: sorted(map(str, names))[:3] for kind, names in told.items() if names}
    if problems:
        raise ContractError(f"{problems} in transformers", "every weight in its place", "correct the stored names")
    model: nn.Module = loaded.eval()
    return model
