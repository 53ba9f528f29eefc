"""Axes of transformers with one key and one value for each head."""

from rctheory.architectures.axes import Axis, Nest, Role, Scope

RESIDUAL = Axis("residual", Role.RESIDUAL, exchangeable=True, averaged=True)
VOCABULARY = Axis("vocabulary", Role.VOCABULARY, exchangeable=False)
POSITION = Axis("position", Role.POSITION, exchangeable=False)
FFN = Axis("ffn", Role.HIDDEN, exchangeable=True, averaged=True, scope=Scope.LAYER)
HEAD = Axis("head", Role.HEAD, exchangeable=True, averaged=True, scope=Scope.LAYER)
# Without rotary positions q.k is a plain sum over coordinates: those of queries and keys may be permuted together.
KEY_DIM = Axis("key_dim", Role.HEAD_DIM, exchangeable=True, scope=Scope.LAYER, parent=HEAD)
VALUE_DIM = Axis("value_dim", Role.HEAD_DIM, exchangeable=True, scope=Scope.LAYER, parent=HEAD)

KEYS: Nest = (HEAD, KEY_DIM)
VALUES: Nest = (HEAD, VALUE_DIM)
