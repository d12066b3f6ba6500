"""Which patches GLA may paste: what a notebook would not teach"""
import pytest, torch
from gla_inpaint.generator import Inpainter
from gla_inpaint.gla import CANDIDATES, GLA, gla_literal
from gla_inpaint.inference import load_inpainter, save_inpainter


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
