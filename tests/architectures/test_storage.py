"""Places: every entry of a stored tensor belongs to one declared tensor, and reading gives back what writing put."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from rctheory.architectures.axes import Axis, Role, Scope
from rctheory.architectures.spec import Architecture, Layout, Naming, Stored, TensorSpec
from rctheory.checkpoints.pieces import gather, interleave_pairs, read_blocks, scatter, separate_pairs
from rctheory.checkpoints.safetensors_store import SafetensorsStore
from rctheory.errors import LawError, ShapeError

WIDTH = Axis("width", Role.RESIDUAL, exchangeable=True)
UNIT = Axis("unit", Role.HEAD, exchangeable=True, scope=Scope.LAYER)
SHORT = Axis("short", Role.HEAD_DIM, exchangeable=True, scope=Scope.LAYER, parent=UNIT)
LONG = Axis("long", Role.HEAD_DIM, exchangeable=True, scope=Scope.LAYER, parent=UNIT)

FUSED_ROWS = [
    TensorSpec(f"{{layer}}.{name}", ((UNIT, axis), (WIDTH,)), stored=Stored("{layer}.rows", inside=1))
    for name, axis in (("a", SHORT), ("b", LONG), ("c", SHORT))
]
FUSED_COLUMNS = [
    TensorSpec(f"{{layer}}.{name}", ((WIDTH,), (UNIT, axis)), stored=Stored("{layer}.columns", dimension=1))
    for name, axis in (("d", LONG), ("e", SHORT))
]
FUSED_INSIDE_COLUMNS = [
    TensorSpec(f"{{layer}}.{name}", ((WIDTH,), (UNIT, axis)), stored=Stored("{layer}.inner", dimension=1, inside=1))
    for name, axis in (("f", LONG), ("g", SHORT))
]
FUSED_VECTORS = [
    TensorSpec(f"{{layer}}.{name}", ((UNIT, axis),), stored=Stored("{layer}.vector", inside=1))
    for name, axis in (("h", SHORT), ("i", LONG))
]
SPLIT = [
    TensorSpec("{layer}.j", ((UNIT, LONG), (WIDTH,)), stored=Stored("{layer}.{unit}.rows")),
    TensorSpec("{layer}.k", ((WIDTH,), (UNIT, SHORT)), stored=Stored("{layer}.{unit}.columns", dimension=1)),
    TensorSpec("{layer}.l", ((UNIT, SHORT), (WIDTH,)), stored=Stored("{layer}.{unit}.rows")),
]
EVERYTHING = Architecture("everything", (*FUSED_ROWS, *FUSED_COLUMNS, *FUSED_INSIDE_COLUMNS, *FUSED_VECTORS, *SPLIT))
SIZES = st.fixed_dictionaries({name: st.integers(1, 4) for name in ("width", "unit", "short", "long")})


def numbered(layout: Layout) -> dict[str, torch.Tensor]:
    """Give every entry of every declared tensor a number of its own."""
    numbers = iter(range(10**6))
    return {
        name: torch.tensor([float(next(numbers)) for _ in range(torch.Size(t.shape).numel())]).reshape(t.shape)
        for name, t in layout.tensors.items()
    }


def stored_in_memory(layout: Layout, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Write declared tensors into stored ones."""
    stored = {name: torch.full(shape, -1.0) for name, shape in layout.stored_shapes(Naming.TRANSFORMERS).items()}
    for name, tensor in weights.items():
        scatter(tensor, layout.place(name, Naming.TRANSFORMERS), stored)
    return stored


@given(sizes=SIZES, layers=st.integers(1, 2))
def test_every_stored_entry_belongs_to_one_declared_tensor(sizes: dict[str, int], layers: int) -> None:
    layout = EVERYTHING.layout(sizes, layers)
    weights = numbered(layout)
    stored = stored_in_memory(layout, weights)
    found = torch.cat([tensor.flatten() for tensor in stored.values()]).sort().values
    assert torch.equal(found, torch.arange(len(found), dtype=torch.float32))
    for name, tensor in weights.items():
        assert torch.equal(gather(stored, layout.place(name, Naming.TRANSFORMERS)), tensor)


@given(sizes=SIZES, rows=st.integers(1, 9))
def test_reading_gives_back_what_is_stored(
    sizes: dict[str, int], rows: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    layout = EVERYTHING.layout(sizes)
    weights = numbered(layout)
    path = tmp_path_factory.getbasetemp() / "model.safetensors"
    save_file(stored_in_memory(layout, weights), path)
    store = SafetensorsStore([path])
    for name, tensor in weights.items():
        place = layout.place(name, Naming.TRANSFORMERS)
        blocks = list(read_blocks(store, place, rows, len(tensor)))
        assert max(len(block) for block in blocks) <= rows
        assert torch.equal(torch.cat(blocks), tensor)
    path.unlink()


def test_pieces_are_where_the_formats_put_them() -> None:
    """[a | b | c] inside each unit; unit by unit side by side; one stored tensor for each unit."""
    layout = EVERYTHING.layout({"width": 2, "unit": 2, "short": 1, "long": 3})
    weights = numbered(layout)
    stored = stored_in_memory(layout, weights)
    a, b, c = (weights[f"0.{name}"].unflatten(0, (2, -1)) for name in "abc")
    assert torch.equal(stored["0.rows"], torch.cat([a, b, c], dim=1).flatten(0, 1))
    assert torch.equal(stored["0.columns"], torch.cat([weights["0.d"], weights["0.e"]], dim=1))
    f, g = (weights[f"0.{name}"].unflatten(1, (2, -1)) for name in "fg")
    assert torch.equal(stored["0.inner"], torch.cat([f, g], dim=2).flatten(1, 2))
    j, k, last = weights["0.j"], weights["0.k"], weights["0.l"]
    assert torch.equal(stored["0.1.rows"], torch.cat([j[3:], last[1:]]))
    assert torch.equal(stored["0.1.columns"], k[:, 1:])


@given(heads=st.integers(1, 4), half=st.integers(1, 5), columns=st.integers(1, 4))
def test_interleaving_is_the_inverse_of_separating(heads: int, half: int, columns: int) -> None:
    rows = torch.arange(heads * 2 * half * columns).reshape(heads * 2 * half, columns)
    assert torch.equal(interleave_pairs(separate_pairs(rows, 2 * half), 2 * half), rows)
    first = separate_pairs(rows, 2 * half)[: 2 * half]
    assert torch.equal(first, torch.cat([rows[0 : 2 * half : 2], rows[1 : 2 * half : 2]]))


def test_a_group_that_lacks_a_part_leaves_a_gap() -> None:
    broken = Architecture("broken", (*FUSED_ROWS[:2], TensorSpec("{layer}.c", ((UNIT,), (WIDTH,)))))
    layout = broken.layout({"width": 2, "unit": 2, "short": 1, "long": 3})
    without = Layout("broken", 1, {name: t for name, t in layout.tensors.items() if name != "0.a"})
    with pytest.raises(ShapeError, match=r"pieces of stored tensor 0\.rows; expected neither overlap nor gap"):
        without.stored_shapes(Naming.TRANSFORMERS)


def test_one_stored_tensor_has_one_shape() -> None:
    wrong = TensorSpec("{layer}.b", ((UNIT, SHORT), (UNIT,)), stored=Stored("{layer}.rows", inside=1))
    layout = Architecture("wrong", (FUSED_ROWS[0], wrong)).layout({"width": 3, "unit": 2, "short": 1})
    with pytest.raises(ShapeError, match=r"stored tensor 0\.rows; expected one shape"):
        layout.stored_shapes(Naming.TRANSFORMERS)


def test_pairs_are_of_whole_rows() -> None:
    with pytest.raises(LawError, match="rotary pairs in a part"):
        Stored("x", inside=1, pairs=True)


def test_a_format_without_a_name_is_refused() -> None:
    layout = EVERYTHING.layout({"width": 2, "unit": 2, "short": 1, "long": 3})
    with pytest.raises(ShapeError, match=r"0\.a of everything without a name in gguf"):
        layout.place("0.a", Naming.GGUF)
    with pytest.raises(ShapeError, match="tensor 'x'; expected a tensor of everything"):
        layout.place("x", Naming.GGUF)
