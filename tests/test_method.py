"""Networks, losses, mining and Algorithm 1: known answers and properties."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch.nn import functional as F  # noqa: N812 - its usual name

from pyocgan import algorithm, losses
from pyocgan.algorithm import build_optimizers, iterate
from pyocgan.config import STAGES, resolve
from pyocgan.frozen import frozen_statistics, frozen_weights
from pyocgan.images import to_pixels, to_range
from pyocgan.mining import mine
from pyocgan.networks import build, halvings, tell_apart
from pyocgan.unnormalised import PlainConvolution, SpectralConvolution

SMALL = {"autoencoder_width": 4, "classifier_width": 4, "visual_width": 4, "latent_size": 6}
BATCH, SIZE = 12, (8, 8)
UPDATED_BY = {"generator": ("En", "De"), "discriminator": ("D_l", "D_v"), "classifier": ("C",)}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def config():
    return resolve("paper", SMALL)


@pytest.fixture
def nets(config):
    return build(config, 1, SIZE, generator()).train()


@pytest.fixture
def x():
    return torch.rand((BATCH, 1, *SIZE), generator=generator(1)) * 2 - 1


def trained(config, nets, x, iterations=200):
    """Train until decoded samples and reconstructions differ, and C tells them apart."""
    optimizers = build_optimizers(replace(config, learning_rate=2e-3), nets)
    for step in range(iterations):
        iterate(nets, optimizers, x, config, generator=generator(step), mining=False)
    return nets


def state(net):
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


# ---- networks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "size", [(8, 8), (9, 9), (13, 21), (28, 28), (32, 32), (61, 61), (8, 128), (127, 64)]
)
def test_networks_fit_every_image_size(config, channels, size):
    nets = build(config, channels, size, generator())
    x = torch.rand((2, channels, *size), generator=generator()) * 2 - 1
    z = nets.En(x)
    assert z.shape == (2, config.latent_size)
    assert z.abs().max() < 1
    assert nets.De(z).shape == x.shape
    assert nets.De(z).abs().max() < 1
    assert nets.D_l(z).shape == nets.D_v(x).shape == nets.C(x).shape == (2,)


def test_paper_widths():
    nets = build(resolve("paper", {}), 1, (32, 32), generator())

    def convolutions(net):
        return [
            (m.out_channels, m.kernel_size, m.stride)
            for m in net.modules()
            if isinstance(m, torch.nn.Conv2d)
        ]

    five, two = (5, 5), (2, 2)
    assert convolutions(nets.En) == [(64, five, two), (128, five, two), (256, five, two)]
    assert convolutions(nets.C) == [(64, five, two), (128, five, two), (256, five, two)]
    assert convolutions(nets.D_v) == [(12, five, two), (24, five, two), (48, five, two)]
    linear = [m for m in nets.D_l.modules() if isinstance(m, torch.nn.Linear)]
    assert [m.out_features for m in linear] == [128, 64, 32, 16, 1]
    assert halvings((28, 28)) == [(28, 28), (14, 14), (7, 7), (4, 4)]


@pytest.mark.parametrize(
    ("stage", "parts"),
    [
        ("ae", set()),
        ("+latent", {"D_l"}),
        ("+visual", {"D_l", "D_v"}),
        ("+mining", {"D_l", "D_v", "C"}),
    ],
)
def test_stages_have_their_networks(stage, parts):
    nets = build(resolve("paper", SMALL | {"stage": stage}), 1, SIZE, generator())
    assert {name for name in ("D_l", "D_v", "C") if getattr(nets, name) is not None} == parts


def test_initial_weights_follow_the_generator_alone(config):
    before = torch.get_rng_state()
    one, same = build(config, 1, SIZE, generator(3)), build(config, 1, SIZE, generator(3))
    other = build(config, 1, SIZE, generator(4))
    assert equal(state(one), state(same))
    assert not equal(state(one), state(other))
    assert torch.equal(before, torch.get_rng_state())


def test_tell_apart_sees_a_difference_in_spread(nets):
    """What batch normalisation of each kind alone would take away."""
    wide = torch.randn((64, 6), generator=generator())
    with frozen_statistics(nets.D_l), torch.no_grad():
        alone = nets.D_l(wide) - nets.D_l(wide / 4)
        together = torch.sub(*tell_apart(nets.D_l, wide, wide / 4))
    assert alone.abs().mean() < 0.05 * together.abs().mean()


# ---- without batch normalisation -----------------------------------------------------------------


def test_a_plain_convolution_has_an_offset():
    layer = PlainConvolution(3, 5)
    layer.draw(generator())
    torch.nn.init.normal_(layer.offset, generator=generator(3))
    x = torch.randn((4, 3, 9, 12), generator=generator(1))
    expected = F.conv2d(x, layer.weight, layer.offset, stride=2, padding=2)
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("before", "after"), [(1, 6), (5, 3), (64, 70)])
def test_a_spectral_convolution_is_one_of_weights_with_norm_1(before, after):
    layer = SpectralConvolution(before, after)
    layer.draw(generator())
    torch.nn.init.normal_(layer.offset, generator=generator(3))
    x = torch.randn((4, before, 9, 12), generator=generator(1))
    for _ in range(50):  # the power iteration goes on from pass to pass
        y = layer(x)
    largest = torch.linalg.svdvals(layer.weight.flatten(1)).max()
    expected = F.conv2d(x, layer.weight / largest, layer.offset, stride=2, padding=2)
    torch.testing.assert_close(y, expected, rtol=1e-3, atol=1e-3)
    twice = copy.deepcopy(layer)
    with torch.no_grad():
        twice.weight *= 2
    torch.testing.assert_close(twice(x), y, rtol=1e-4, atol=1e-4)


def test_a_spectral_convolution_takes_weights_with_the_channels_last():
    """As a GPU has them."""
    layer = SpectralConvolution(3, 8)
    layer.draw(generator())
    x = torch.randn((2, 3, 8, 8), generator=generator(1))
    last = copy.deepcopy(layer).to(memory_format=torch.channels_last)
    torch.testing.assert_close(last(x), layer(x), rtol=1e-4, atol=1e-5)


def test_the_first_singular_vector_follows_in_training_alone():
    layer = SpectralConvolution(2, 8)
    layer.draw(generator())
    x, u = torch.randn((2, 2, 8, 8), generator=generator(1)), layer.u.clone()
    with frozen_weights(layer):
        layer(x)
    layer.eval()(x)
    assert torch.equal(layer.u, u)
    layer.train()(x)
    assert not torch.equal(layer.u, u)
    assert layer.u.norm() == pytest.approx(1)


@pytest.mark.parametrize(
    ("norm", "by_itself"), [("batch", False), ("none", True), ("spectral", True)]
)
def test_without_batch_normalisation_an_image_is_judged_by_itself(config, x, norm, by_itself):
    nets = build(replace(config, discriminator_norm=norm), 1, SIZE, generator()).train()
    for judge in (nets.D_v, nets.C):
        with frozen_weights(judge), frozen_statistics(judge):
            together, first = judge(x), judge(x[:2])
        assert torch.allclose(together[:2], first, atol=1e-5) == by_itself


@pytest.mark.parametrize(("norm", "by_itself"), [("batch", False), ("instance", True)])
def test_with_instance_normalisation_an_image_is_rebuilt_by_itself(config, x, norm, by_itself):
    x = x.repeat(1, 1, 2, 2)  # of one pixel there is no spread
    nets = build(replace(config, autoencoder_norm=norm), 1, x.shape[2:], generator()).train()
    together, first = nets.De(nets.En(x)), nets.De(nets.En(x[:2]))
    assert torch.allclose(together[:2], first, atol=1e-5) == by_itself
    assert torch.allclose(together, nets.eval().De(nets.En(x)), atol=1e-5) == by_itself


@pytest.mark.parametrize("norm", ["none", "spectral"])
def test_mining_leaves_such_networks_alone_and_lowers_C(config, x, norm):
    config = replace(config, discriminator_norm=norm)
    nets = trained(config, build(config, 1, SIZE, generator()).train(), x)
    before = state(nets)
    s = torch.rand((BATCH, config.latent_size), generator=generator(2)) * 2 - 1
    mined = mine(s, nets.De, nets.C, steps=5, step_size=0.1)
    assert equal(before, state(nets))
    with torch.no_grad(), frozen_statistics(nets.De):
        assert nets.C(nets.De(mined)).mean() < nets.C(nets.De(s)).mean()


# ---- losses ------------------------------------------------------------------------------------


def test_losses_equal_an_independent_reference():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(0, 3, 50), rng.normal(0, 3, 50)
    labels = np.r_[np.ones(50), np.zeros(50)]
    probabilities = 1 / (1 + np.exp(-np.r_[real, fake]))
    expected = 2 * log_loss(labels, probabilities)  # scikit-learn takes the mean over both kinds
    tensors = torch.from_numpy(real), torch.from_numpy(fake)
    for loss in (losses.l_latent, losses.l_visual, losses.l_classifier):
        assert loss(*tensors).item() == pytest.approx(expected)
    assert losses.fool(tensors[1]).item() == pytest.approx(
        log_loss(np.ones(50), probabilities[50:], labels=[0, 1])
    )
    assert losses.l_mining(tensors[1]).item() == pytest.approx(
        50 * log_loss(np.zeros(50), probabilities[50:], labels=[0, 1])
    )


def test_losses_stay_finite_where_the_sigmoid_saturates():
    sure = torch.tensor([1e4, -1e4])
    assert torch.isfinite(losses.adversarial(sure, sure))


def test_l_mse_is_a_mean_over_batch_and_pixels():
    x, x_hat = torch.zeros(2, 1, 2, 2), torch.tensor([1.0, 2, 3, 4, 0, 0, 0, 0]).view(2, 1, 2, 2)
    assert losses.l_mse(x, x_hat).item() == pytest.approx(30 / 8)


def test_pixel_range_round_trip():
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1)
    x = to_range(pixels)
    assert (x.min(), x.max()) == (-1, 1)
    assert np.array_equal(to_pixels(x), pixels.numpy())


# ---- mining ------------------------------------------------------------------------------------


@pytest.fixture
def mining_case(config, nets, x):
    nets = trained(config, nets, x)
    return nets, torch.rand((BATCH, config.latent_size), generator=generator(9)) * 2 - 1


def in_class(nets, s):
    """C(De(s)) as mining sees it: (B,) probabilities."""
    with torch.no_grad(), frozen_statistics(nets.De, nets.C):
        return nets.C(nets.De(s)).sigmoid()


def test_mining_lowers_C_and_moves_s(mining_case):
    nets, s = mining_case
    mined = mine(s, nets.De, nets.C, steps=5, step_size=0.1)
    assert in_class(nets, mined).mean() < 0.9 * in_class(nets, s).mean()
    assert (mined - s).norm(dim=1).min() > 0.05


def test_mining_lowers_C_even_where_C_is_sure(mining_case):
    """Scaled up, C's sigmoid saturates and the plain gradient is nearly nothing."""
    nets, s = mining_case
    with torch.no_grad():
        nets.C.logit.weight.mul_(50)
    mined = mine(s, nets.De, nets.C, steps=5, step_size=0.05)
    assert (mined - s).norm(dim=1).min() > 0.05
    with torch.no_grad():
        assert nets.C(nets.De(mined)).mean() < 1.2 * nets.C(nets.De(s)).mean() < 0


def test_mining_leaves_networks_statistics_and_gradients_alone(mining_case):
    nets, s = mining_case
    for weight in nets.parameters():
        weight.grad = None
    before, s_before = state(nets), s.clone()
    mine(s, nets.De, nets.C, steps=5, step_size=0.05)
    assert equal(before, state(nets))
    assert torch.equal(s, s_before)
    assert all(weight.grad is None and weight.requires_grad for weight in nets.parameters())
    assert all(getattr(m, "track_running_stats", True) for m in nets.modules())


def test_mined_points_stay_in_the_open_cube(mining_case):
    nets, s = mining_case
    mined = mine(s * 0.999, nets.De, nets.C, steps=50, step_size=0.5)
    assert mined.abs().max() < 1
    assert not mined.requires_grad


def test_no_steps_of_mining_change_nothing(mining_case):
    nets, s = mining_case
    assert torch.equal(mine(s, nets.De, nets.C, steps=0, step_size=0.05), s)


# ---- Algorithm 1 -------------------------------------------------------------------------------


@pytest.mark.parametrize("update", UPDATED_BY)
def test_each_update_changes_its_own_networks_and_no_other(config, nets, x, update, monkeypatch):
    """Look at everything just before and just after one optimiser's step."""
    optimizers = build_optimizers(config, nets)
    changed = {}
    real_step = algorithm._step

    def spy(optimizer, loss):
        before = copy.deepcopy(nets.state_dict())
        real_step(optimizer, loss)
        name = next(n for n, o in optimizers.items() if o is optimizer)
        after = nets.state_dict()
        changed[name] = {k.split(".")[0] for k in before if not torch.equal(before[k], after[k])}

    monkeypatch.setattr(algorithm, "_step", spy)
    iterate(nets, optimizers, x, config, generator=generator(), mining=True)
    assert list(changed) == ["classifier", "discriminator", "generator"]  # Algorithm 1's order
    assert changed[update] == set(UPDATED_BY[update])


def test_generator_update_touches_no_opponent(config, nets, x):
    """Not even the running statistics of D_l, D_v and C beyond their own updates."""
    optimizers = build_optimizers(config, nets)
    iterate(nets, optimizers, x, config, generator=generator(), mining=True)
    counts = {
        name: {
            int(m.num_batches_tracked) for m in net.modules() if hasattr(m, "num_batches_tracked")
        }
        for name, net in nets.named_children()
    }
    # D_v and C look at their two kinds one after the other, D_l at both in one batch.
    assert counts == {"En": {1}, "De": {1}, "D_l": {1}, "D_v": {2}, "C": {2}}


def test_statistics_of_De_are_those_of_reconstructions(config, nets, x):
    """Scores use them; decoded samples and mining must leave no trace."""
    reference = copy.deepcopy(nets)
    draw = generator(5)
    n = config.noise_std * torch.randn(x.shape, generator=draw)
    reference.De(reference.En(x + n))
    iterate(nets, build_optimizers(config, nets), x, config, generator=generator(5), mining=True)
    expected, seen = dict(reference.De.named_buffers()), dict(nets.De.named_buffers())
    assert all(torch.allclose(expected[name], seen[name]) for name in expected)


def spied_samples(config, nets, x, monkeypatch, *, mining):
    """Return the latent points that De decodes with gradients, in the generator update."""
    decoded = []
    forward = nets.De.forward

    def spy(s):
        if torch.is_grad_enabled() and not s.requires_grad:
            decoded.append(s.clone())
        return forward(s)

    monkeypatch.setattr(nets.De, "forward", spy)
    iterate(nets, build_optimizers(config, nets), x, config, generator=generator(7), mining=mining)
    (s,) = decoded
    return s


def test_generator_update_sees_the_mined_points(config, nets, x, monkeypatch):
    mined_points = []
    real_mine = algorithm.mine

    def spy(*args, **kwargs):
        mined_points.append(real_mine(*args, **kwargs))
        return mined_points[-1]

    monkeypatch.setattr(algorithm, "mine", spy)
    seen = spied_samples(config, nets, x, monkeypatch, mining=True)
    assert torch.equal(seen, mined_points[0])


def test_generator_update_sees_points_as_drawn_before_mining_starts(config, nets, x, monkeypatch):
    draw = generator(7)
    torch.randn(x.shape, generator=draw)
    drawn = torch.rand((BATCH, config.latent_size), generator=draw) * 2 - 1
    seen = spied_samples(config, nets, x, monkeypatch, mining=False)
    assert torch.equal(seen, drawn)


@pytest.mark.parametrize("stage", STAGES)
def test_losses_of_each_stage(stage, x):
    config = resolve("paper", SMALL | {"stage": stage})
    nets = build(config, 1, SIZE, generator()).train()
    result = iterate(
        nets, build_optimizers(config, nets), x, config, generator=generator(), mining=True
    )
    wanted = {
        "ae": {"mse"},
        "+latent": {"mse", "latent", "fool_latent"},
        "+visual": {"mse", "latent", "fool_latent", "visual", "fool_visual"},
        "+mining": {"mse", "latent", "fool_latent", "visual", "fool_visual", "classifier"},
    }
    assert set(result) == wanted[stage]
    assert all(torch.isfinite(loss) and not loss.requires_grad for loss in result.values())


def test_stage_ae_is_a_plain_denoising_auto_encoder(x):
    """One iteration equals one Adam step on λ·MSE, written out here."""
    config = resolve("paper", SMALL | {"stage": "ae"})
    nets = build(config, 1, SIZE, generator()).train()
    twin = copy.deepcopy(nets)
    iterate(nets, build_optimizers(config, nets), x, config, generator=generator(2), mining=False)
    adam = torch.optim.Adam(twin.parameters(), lr=2e-4, betas=(0.5, 0.999))
    n = 0.2**0.5 * torch.randn(x.shape, generator=generator(2))
    (10 * torch.nn.functional.mse_loss(twin.De(twin.En(x + n)), x)).backward()
    adam.step()
    assert all(
        torch.allclose(one, other, atol=1e-7)
        for one, other in zip(nets.parameters(), twin.parameters(), strict=True)
    )


def test_each_game_can_be_won(config, nets, x):
    """With the generator held still, D_l, D_v and C learn to tell their two kinds apart."""
    nets = trained(config, nets, x, iterations=100)
    optimizers = build_optimizers(replace(config, learning_rate=2e-3), nets)
    frozen = torch.optim.SGD([*nets.En.parameters(), *nets.De.parameters()], lr=0.0)
    still = optimizers | {"generator": frozen}
    history = [
        iterate(nets, still, x, config, generator=generator(step), mining=False)
        for step in range(150)
    ]
    for name in ("latent", "visual", "classifier"):
        first, last = (sum(h[name] for h in part) for part in (history[:10], history[-10:]))
        assert last < 0.85 * first
