"""Which patches GLA may paste: what a notebook would not teach"""
import pytest, torch
from gla_inpaint.generator import Inpainter
from gla_inpaint.gla import CANDIDATES, GLA, gla_literal, matching_grid, products
from gla_inpaint.weights import load_inpainter, save_inpainter


def holed(h=16, w=16):
    mask = torch.ones(1, 1, h, w)
    mask[...,5:11,5:11] = 0
    return mask


@pytest.mark.parametrize('candidates', CANDIDATES)
def test_a_batch_of_different_masks_is_each_photo_alone(candidates):
    torch.manual_seed(0)
    net,psi = GLA(4, candidates=candidates),torch.randn(3, 4, 16, 16)
    mask = torch.cat([holed(), torch.ones_like(holed()), torch.zeros_like(holed())])
    with torch.no_grad(): together,alone = net(psi, mask),torch.cat([net(p[None], m[None]) for p,m in zip(psi, mask)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_the_hole_of_one_photo_does_not_change_another():
    torch.manual_seed(0)
    net,psi = GLA(4),torch.randn(2, 4, 16, 16)
    masks = [torch.cat([holed(), m]) for m in (holed(), torch.zeros_like(holed()))]
    with torch.no_grad(): first,second = (net(psi, m)[0] for m in masks)
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('candidates', CANDIDATES)
def test_what_may_not_be_pasted_gets_no_weight_and_all_else_sums_to_one(candidates):
    torch.manual_seed(0)
    net,psi = GLA(4, candidates=candidates),torch.randn(1, 4, 16, 16)
    with torch.no_grad(): (_,kappa),(*_,allowed) = net(psi, holed(), attention=True),net.patches(psi, holed())
    assert (kappa[0][:,~allowed[0]] == 0).all()
    assert allowed.sum() == dict(known=11, partly=60, all=64)[candidates]
    torch.testing.assert_close(kappa.sum(-1), torch.ones(1, 64))


def test_features_of_the_hole_are_not_pasted():
    "Known patches alone: whatever stands in the hole, the map is made of known pixels, which are all 1"
    net = GLA(2)
    for omega in (net.omega1, net.omega2, net.omega3):
        torch.nn.init.dirac_(omega.weight)
        torch.nn.init.zeros_(omega.bias)
    psi = torch.where(holed() == 1, 1., 1e3).expand(1, 2, 16, 16)
    with torch.no_grad(): out = net(psi, holed())
    torch.testing.assert_close(out, torch.ones_like(out))


@pytest.mark.parametrize('size', [(1, 1), (3, 7), (9, 5)])
@pytest.mark.parametrize('candidates', CANDIDATES)
def test_odd_sizes_equal_the_literal_version(size, candidates):
    torch.manual_seed(0)
    net,psi = GLA(2, candidates=candidates).double(),torch.randn(2, 2, *size).double()
    mask = (torch.rand(2, 1, *size) > .2).double()
    with torch.no_grad():
        slow = gla_literal(psi, mask, net.omega1, net.omega2, net.omega3, candidates=candidates)
        torch.testing.assert_close(net(psi, mask), slow)


def test_an_unknown_kind_is_refused_with_the_kinds_there_are():
    with pytest.raises(ValueError, match="one of .*'known', 'partly', 'all'.*got 'near'"): GLA(4, candidates='near')


def test_a_file_remembers_which_patches_and_how_sharply(tmp_path):
    save_inpainter(Inpainter(4, candidates='partly', scale=20.), tmp_path/'w.safetensors')
    gla = load_inpainter(tmp_path/'w.safetensors', 'cpu').refine.attention
    assert (gla.candidates, gla.scale) == ('partly', 20.)


def test_a_file_from_before_runs_as_it_was_trained(tmp_path):
    "Files without these words were trained with all patches and a scale of 10"
    from safetensors.torch import save_file
    save_file(Inpainter(4).state_dict(), tmp_path/'old.safetensors')
    net = load_inpainter(tmp_path/'old.safetensors', 'cpu')
    assert (net.candidates, net.scale) == ('all', 10.)
    assert (net.refine.attention.candidates, net.refine.attention.scale) == ('all', 10.)


# ---- in practice

@pytest.fixture
def wide_net():
    "With 128 channels, as the network has it: net, psi and mask"
    torch.manual_seed(42)
    return GLA(128),torch.randn(2, 128, 16, 16),(torch.rand(2, 1, 64, 64) > .25).float()


@pytest.mark.parametrize('wrong,says', [
    (lambda: GLA(8, patch=4), 'patch must be odd'), (lambda: GLA(8, rate=0), 'rate must be 1'),
    (lambda: GLA(8)(torch.zeros(2, 8, 4, 4), torch.ones(1, 1, 4, 4)), 'mask must be'),
    (lambda: GLA(8)(torch.zeros(2, 8, 4, 4), torch.ones(2, 4, 4)), 'mask must be')])
def test_what_cannot_work_is_refused_with_what_would(wrong, says):
    with pytest.raises(ValueError, match=says): wrong()


# the same numbers, in every second place of the memory
def spread(t): return torch.stack([t, -t], -1)[...,0]

@pytest.mark.parametrize('laid', [lambda p, m: (spread(p), spread(m)), lambda p, m: (p.to(memory_format=torch.channels_last), m), lambda p, m: (p.mT.contiguous().mT, m)],
                         ids=['strided', 'channels last', 'transposed'])
def test_the_layout_of_the_input_does_not_matter(wide_net, laid):
    net,psi,mask = wide_net
    with torch.no_grad(): torch.testing.assert_close(net(*laid(psi, mask)), net(psi, mask), rtol=0, atol=1e-5)


def test_bfloat16_under_autocast(wide_net):
    "The map comes out close, the scores stay in float32, the gradients are finite"
    net,psi,mask = wide_net
    with torch.no_grad(): out,kappa = net(psi, mask, attention=True)
    with torch.autocast('cpu', torch.bfloat16): half,kappa_half = net(psi, mask, attention=True)
    half.float().pow(2).mean().backward()
    assert half.dtype == torch.bfloat16 and (half-out).abs().max() < .02*out.abs().max()
    assert all(p.grad.isfinite().all() for p in net.parameters())
    assert kappa_half.dtype == products(half, half).dtype == torch.float32
    torch.testing.assert_close(kappa_half, kappa, rtol=0, atol=1e-3)
    torch.testing.assert_close(kappa_half.sum(-1), torch.ones(2, 8*8))


def test_the_global_step_is_asked_on_the_matching_grid_alone():
    torch.manual_seed(0)
    net,psi,mask = GLA(3),torch.randn(2, 3, 5, 6),(torch.rand(2, 1, 5, 6) > .4).float()
    with torch.no_grad(): some,every = net.attend(psi, mask, matching_grid(psi, 2)),net.attend(psi, mask)
    torch.testing.assert_close(some[...,::2,::2], every[...,::2,::2], rtol=0, atol=1e-6)
    assert (some != every).any(), 'elsewhere they differ, and nothing reads it'
