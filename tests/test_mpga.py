"""Global attention in practice: layouts, precision, kernels and what is refused. What it computes is in nbs/02_mpga.ipynb"""
import pytest, torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gla_inpaint.masks import hole_of_ratio, mask_from_hole
from gla_inpaint.mpga import MPGA, PRUNE, check_prune, chosen_first, mask_like, prune_scores, scatter_pixels, take_pixels
from gla_inpaint.mpga import _longest, _round_up


@pytest.fixture
def net():
    torch.manual_seed(42)
    return MPGA(16)

@pytest.fixture
def psi(): return torch.randn(2, 16, 32, 32, generator=torch.Generator().manual_seed(1))

@pytest.fixture
def mask(): return torch.stack([mask_from_hole(hole_of_ratio((64,64), (.3,.4), seed=i)) for i in range(2)])

def close(a, b, tol=1e-5): torch.testing.assert_close(a, b, rtol=tol, atol=tol)


@pytest.mark.parametrize('bad', [lambda m: m.expand(-1, 3, -1, -1), lambda m: m[:1], lambda m: m[:,0]], ids=['three channels', 'one for two photos', 'no channel'])
def test_a_mask_of_another_shape_is_refused(net, psi, mask, bad):
    for f in (lambda: net(psi, bad(mask)), lambda: mask_like(bad(mask), psi)):
        with pytest.raises(ValueError, match='one channel, and one mask for each feature map'): f()


def test_an_unknown_reading_is_refused():
    for f in (lambda: check_prune('zero'), lambda: MPGA(4, prune='mask'), lambda: prune_scores(torch.zeros(2, 2), torch.ones(1, 2), 'zero')):
        with pytest.raises(ValueError, match='must be one of'): f()


def test_the_mask_takes_the_type_of_the_features():
    assert mask_like(torch.ones(1, 1, 8, 8), torch.zeros(1, 3, 4, 4, dtype=torch.float64)).dtype == torch.float64


def test_without_gradients_the_same_to_the_last_bit(net, psi, mask):
    out = net(psi, mask)
    with torch.no_grad(): assert torch.equal(net(psi, mask), out)


@pytest.mark.parametrize('laid', [lambda t: t.to(memory_format=torch.channels_last), lambda t: t.mT.contiguous().mT], ids=['channels last', 'transposed'])
def test_the_layout_of_the_input_does_not_matter(net, psi, mask, laid): close(net(laid(psi), mask), net(psi, mask))


def test_bfloat16_under_autocast(net, psi, mask):
    with torch.autocast('cpu', torch.bfloat16): half,kappa = net(psi, mask, attention=True)
    half.square().mean().backward()
    assert half.isfinite().all() and all(p.grad.isfinite().all() for p in net.parameters())
    close(half.float(), net(psi, mask), 2e-2)
    close(kappa.float().sum(-1), torch.ones(2, 1024), 2e-2)


@pytest.mark.parametrize('prune', PRUNE)
def test_the_fused_kernel_takes_hundreds_of_padded_keys(net, psi, prune):
    "One photo nearly all known, one all hole; no other kernel is allowed, and the fused one never stores the matrix"
    mask = torch.ones(2, 1, 64, 64)
    mask[0,:,:4,:4] = 0
    mask[1] = 0
    net.prune = prune
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION): fused = net(psi, mask)
    with sdpa_kernel(SDPBackend.MATH): close(fused, net(psi, mask))


def test_rows_dealt_to_heads_change_neither_values_nor_gradients(net, psi):
    psi,weight,dealt,before = psi[:1].clone().requires_grad_(),torch.randn(1, 16, 32, 32),[],torch.get_num_threads()
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            out = net(psi, torch.zeros(1, 1, 32, 32))
            dealt.append([out, *torch.autograd.grad((out*weight).sum(), [psi,*net.parameters()])])
    finally: torch.set_num_threads(before)
    for a,b in zip(*dealt): torch.testing.assert_close(a, b, rtol=0, atol=1e-5*b.abs().max().clamp(min=1).item())


def test_no_more_multiplications_than_hole_rows_times_known_keys():
    torch.manual_seed(0)
    net,psi,mask = MPGA(4),torch.randn(2, 4, 5, 7),(torch.rand(2, 1, 5, 7) > .4).float()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter: net(psi, mask)
    # the most of either photo; convolutions, then the matrix, for correlations and for the mean
    n_query,n_key = ((mask == i).flatten(1).sum(1).max().item() for i in (0, 1))
    assert counter.get_total_flops()//2 == 2*(4*4*(n_query + n_key + n_key+1) + 2*4*n_query*(n_key+1))


def test_pixels_come_back_to_their_places_and_padding_is_not_real():
    two = torch.tensor([[1,0,0,1,1,0], [0,0,0,0,0,1]]).bool()
    idx,real = chosen_first(two, *_longest(two))
    x = torch.arange(12.).view(2, 6, 1)
    assert idx[0].tolist() == [0,3,4] and idx[1,0] == 5 and real.tolist() == [[True]*3, [True,False,False]]
    assert torch.equal(scatter_pixels(take_pixels(x, idx)*real[...,None], idx, 6), x*two[...,None])
    assert take_pixels(x, idx[:,:0]).shape == (2, 0, 1), 'none asked for'
    assert [_round_up(n, 256) for n in (0, 1, 256, 257)] == [0, 256, 256, 512]
