"""The pieces of the signature-law experiment."""

import torch

from rctheory.measures import squared_energy, squared_mmd
from tests.helpers import stream
from verification.signature_laws import BANDWIDTH, _curve, _mispaired, _squares, batches


def test_mispairing_keeps_both_marginal_laws() -> None:
    x = torch.randn(3, 20, 8, generator=stream(0))
    planted = _mispaired(x)
    assert torch.equal(planted[..., :4], x[..., :4])
    assert not torch.equal(planted, x)
    rows = [sorted(map(tuple, part[0, :, 4:].tolist())) for part in (planted, x)]
    assert rows[0] == rows[1]


def test_distances_are_those_of_the_library_pair_by_pair() -> None:
    """Network i of the narrow ones goes with network i modulo the number of wide ones; one number for each wide one."""
    x, y = torch.randn(5, 12, 6, generator=stream(1)), 3 * torch.randn(2, 24, 6, generator=stream(2))
    scale = y.reshape(-1, 6).std(dim=0)
    got = _squares(x, y)
    for name, distance in (("mmd", lambda a, b: squared_mmd(a, b, BANDWIDTH)), ("energy", squared_energy)):
        want = [
            torch.stack([distance(x[i] / scale, y[k] / scale) for i in chosen]).mean()
            for k, chosen in enumerate(([0, 2, 4], [1, 3]))
        ]
        torch.testing.assert_close(torch.tensor(got[name]), torch.stack(want), rtol=1e-5, atol=1e-6)


def test_standard_errors_pool_the_variation_of_all_widths() -> None:
    squares = {n: [1 / n * factor for factor in (0.8, 1.2, 1.0, 1.0)] for n in (64, 128, 256)}
    points = _curve(squares).points
    assert [round(point.error * point.n**0.5, 12) for point in points] == [1.0, 1.0, 1.0]
    variation = (0.08 * 3 / 9) ** 0.5
    assert all(abs(point.se / point.error - variation / 4) < 1e-6 for point in points)
    assert abs(points[0].abscissa - 128 / 3) < 1e-9  # 1 / (1/64 + 1/128)


def test_every_network_sees_the_same_batches() -> None:
    first, again, other = ([pick.tolist() for pick in batches(100, root, 3)] for root in (0, 0, 1))
    assert first == again
    assert first != other
