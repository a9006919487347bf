"""The convolutions of training on a CPU are torch's own, to rounding; those of scoring exactly."""

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - its usual name

from pyocgan import convolution
from pyocgan.config import resolve
from pyocgan.convolution import (
    Convolution,
    TransposedConvolution,
    convolve,
    convolve_transposed,
    flatten,
    transforms_kept,
)
from pyocgan.networks import build

SIZES = [(8, 8), (7, 7), (16, 16), (1, 2), (3, 16), (9, 13), (31, 32), (64, 5)]
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5}
BATCH = 3


def random(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def with_gradients(function, *inputs):
    """The value, and the gradients of its product with something fixed."""
    inputs = [x.requires_grad_() for x in inputs]
    y = function(*inputs)
    g = random(*y.shape, dtype=torch.float64, seed=9).to(y.dtype)
    return [y, *torch.autograd.grad(y, inputs, g)]


def differences(function, reference, *inputs):
    """The largest differences of values and gradients, relative to the largest entry."""
    return errors(with_gradients(function, *inputs), with_gradients(reference, *inputs))


def errors(found, exact):
    """The largest difference of each, relative to its largest entry."""
    pairs = zip(found, exact, strict=True)
    return [((a - e).abs().max() / e.abs().max()).item() for a, e in pairs]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("channels", [1, 6])  # patches; few products
@pytest.mark.parametrize("size", SIZES)
def test_values_and_gradients_equal_torchs(size, channels, dtype):
    x = random(BATCH, channels, *size, dtype=dtype)
    w = random(5, channels, 5, 5, dtype=dtype, seed=1)
    found = differences(convolve, lambda x, w: F.conv2d(x, w, stride=2, padding=2), x, w)
    assert max(found) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("channels", [1, 6])
@pytest.mark.parametrize("size", SIZES)
def test_transposed_values_and_gradients_equal_torchs(size, channels, dtype):
    more = [1 - n % 2 for n in size]
    y = random(BATCH, 5, *((n + 1) // 2 for n in size), dtype=dtype)
    w = random(5, channels, 5, 5, dtype=dtype, seed=1)
    found = differences(
        lambda y, w: convolve_transposed(y, w, size),
        lambda y, w: F.conv_transpose2d(y, w, stride=2, padding=2, output_padding=more),
        *(y, w),
    )
    assert max(found) < TOLERANCE[dtype]


def test_float32_is_good_to_six_digits_at_the_papers_widths():
    x, w = random(16, 128, 8, 8), random(256, 128, 5, 5, seed=1)
    exact = F.conv2d(x.double(), w.double(), stride=2, padding=2)
    assert (convolve(x, w) - exact).abs().max() < 1e-5 * exact.abs().max()


def test_a_map_of_8_takes_121_products_in_place_of_400():
    P, Q, G = convolution._matrices(8, torch.float64)
    assert P.shape == (1, 11, 8)
    assert Q.shape == (1, 11, 4)
    assert G.shape == (11, 5)


@pytest.fixture
def called(monkeypatch):
    """Names of the functions here that layers called."""
    names = []
    for name in ("convolve", "convolve_transposed"):
        real = getattr(convolution, name)

        def spy(*args, name=name, real=real):
            names.append(name)
            return real(*args)

        monkeypatch.setattr(convolution, name, spy)
    return names


def layers(channels):
    return Convolution(channels, 5), TransposedConvolution(5, channels, (8, 8), bias=True)


def run(conv, transposed):
    x, y = random(BATCH, conv.in_channels, 8, 8), random(BATCH, 5, 4, 4)
    return conv(x), transposed(y)


@pytest.mark.parametrize(("channels", "pays"), [(1, True), (2, False), (64, True)])
def test_layers_in_training_equal_those_in_evaluation(channels, pays, called):
    pair = layers(channels)
    trained = run(*pair)
    assert called == (["convolve", "convolve_transposed"] if pays else [])
    called.clear()
    evaluated = run(*(layer.eval() for layer in pair))
    assert called == []
    for one, other in zip(trained, evaluated, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_in_evaluation_layers_are_torchs_to_the_bit():
    conv, transposed = (layer.eval() for layer in layers(64))
    x, y = random(BATCH, 64, 8, 8), random(BATCH, 5, 4, 4)
    assert torch.equal(conv(x), F.conv2d(x, conv.weight, stride=2, padding=2))
    options = {"stride": 2, "padding": 2, "output_padding": 1}
    expected = F.conv_transpose2d(y, transposed.weight, transposed.bias, **options)
    assert torch.equal(transposed(y), expected)


def test_bfloat16_keeps_torchs_layers_but_for_a_single_channel(called):
    with torch.autocast("cpu", torch.bfloat16):
        run(*layers(64))
        assert called == []
        run(*layers(1))
    assert called == ["convolve", "convolve_transposed"]


def test_a_single_channel_in_bfloat16_is_good_to_its_three_digits():
    x, w = random(BATCH, 1, 8, 8), random(5, 1, 5, 5, seed=1)
    y = random(BATCH, 5, 4, 4, seed=2)
    exact = with_gradients(lambda x, w: F.conv2d(x, w, stride=2, padding=2), x, w)
    options = {"stride": 2, "padding": 2, "output_padding": 1}
    exact += with_gradients(lambda y, w: F.conv_transpose2d(y, w, **options), y, w)
    with torch.autocast("cpu", torch.bfloat16):
        found = with_gradients(convolve, x, w)
        found += with_gradients(lambda y, w: convolve_transposed(y, w, (8, 8)), y, w)
    assert 1e-4 < max(errors(found, exact)) < 1e-2  # rounded, and no more than that


def test_weights_are_named_and_shaped_as_torchs():
    conv, transposed = layers(3)
    assert {k: v.shape for k, v in conv.state_dict().items()} == {"weight": (5, 3, 5, 5)}
    expected = {"weight": (5, 3, 5, 5), "bias": (3,)}
    assert {k: v.shape for k, v in transposed.state_dict().items()} == expected


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
def test_gradients_come_back_in_the_layout_of_the_activations(precision):
    """Else batch normalisation and leaky ReLU take 10 to 50 times as long, and nothing says so."""
    nets = build(resolve("fast", {}), 1, (32, 32), torch.Generator().manual_seed(0)).train()
    seen = []

    def watch(layer, _, activation):
        stride = activation.stride()
        activation.register_hook(lambda g: seen.append(g.stride() == stride))

    for layer in nets.modules():
        if isinstance(layer, torch.nn.LeakyReLU):
            layer.register_forward_hook(watch)
    x = random(BATCH, 1, 32, 32)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        loss = nets.C(nets.De(nets.En(x))).sum() + nets.D_v(x).sum()
    loss.backward()
    assert len(seen) == 12
    assert all(seen)


def test_flatten_is_torchs():
    x = random(2, 3, 4, 5)
    for layout in (torch.contiguous_format, torch.channels_last):
        assert torch.equal(flatten(x.contiguous(memory_format=layout)), x.flatten(1))


@pytest.fixture
def transformed(monkeypatch):
    """One entry for each G w that was computed."""
    counted = []
    real = convolution._apply

    def spy(function, *arguments):
        if function is convolution._Transform:
            counted.append(arguments[0])
        return real(function, *arguments)

    monkeypatch.setattr(convolution, "_apply", spy)
    return counted


def test_weights_are_transformed_once_until_they_change(transformed):
    x, w = random(BATCH, 6, 8, 8), random(5, 6, 5, 5, seed=1).requires_grad_()
    optimizer = torch.optim.Adam([w], lr=0.1)

    def expected():
        return F.conv2d(x, w, stride=2, padding=2)

    with transforms_kept():
        for step in (1, 2):
            y = convolve(x, w)
            (again,) = torch.autograd.grad((y + convolve(x, w)).square().sum(), w)
            (theirs,) = torch.autograd.grad((2 * expected()).square().sum(), w)
            torch.testing.assert_close(again, theirs, rtol=1e-4, atol=1e-3)
            with torch.no_grad():
                torch.testing.assert_close(convolve(x, w), expected(), rtol=1e-4, atol=1e-4)
            assert len(transformed) == step
            convolve(x, w).sum().backward()
            optimizer.step()
    convolve(x, w)
    convolve(x, w)
    assert len(transformed) == 4  # nothing is kept outside


def test_a_transform_made_without_gradients_is_none_for_those_who_need_them(transformed):
    x, w = random(BATCH, 6, 8, 8), random(5, 6, 5, 5, seed=1).requires_grad_()
    with transforms_kept():
        with torch.no_grad():
            convolve(x, w)
        convolve(x, w).sum().backward()
        w.requires_grad_(False)
        assert not convolve(x, w).requires_grad
    assert w.grad is not None
    assert len(transformed) == 2
