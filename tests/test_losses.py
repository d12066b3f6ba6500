"What the losses promise beside their equations: number types, tensor types, refusals, and averages that processes share."
import pytest, torch, torch.nn.functional as F
from fastai.torch_core import TensorImage, TensorMask
from gla_inpaint.losses import (as_float, discriminator_loss, generator_loss, lorentzian, ra_hinge_d, ra_hinge_g, reconstruction_loss, relativistic_logits, ssim,
    ssim_loss, ssim_map, to_01)

REAL,FAKE = torch.tensor([2., .25, 1.75, 0.]).view(2,1,1,2),torch.tensor([-2.5, -.25, .5, .25]).view(2,1,1,2)


def images(n, size=12): return [torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(i))*1.6-.8 for i in range(n)]


def test_fastai_types_are_dropped():
    a,b = TensorImage([1.,-1.]),TensorMask([0.,1.])
    with pytest.raises(TypeError, match='no implementation'): F.l1_loss(a, b)
    assert F.l1_loss(as_float(a), as_float(b)) == 1.5 and type(as_float(a)) is torch.Tensor
    assert to_01(a).tolist() == [1, 0]


@pytest.mark.parametrize('given,kept', [(torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float64, torch.float64)])
def test_at_least_float32(given, kept): assert as_float(torch.ones(1, dtype=given)).dtype == kept


@pytest.mark.parametrize('loss', [ssim_map, ssim, ssim_loss])
@pytest.mark.parametrize('shape', [(10, 11), (11, 10)])
def test_no_window_fits(loss, shape):
    a = torch.rand(1, 3, *shape)
    with pytest.raises(ValueError, match='11x11.*'+str(min(shape))): loss(a, a)


@pytest.mark.parametrize('loss,args', [(ssim_loss, images(2)), (reconstruction_loss, images(3)),
    *((f, [REAL/3, FAKE/3]) for f in (ra_hinge_d, ra_hinge_g, lorentzian, generator_loss, discriminator_loss))], ids=lambda x: getattr(x, '__name__', ''))
def test_autocast_changes_no_digit(loss, args):
    half = [TensorImage(x.bfloat16()) for x in args]
    with torch.autocast('cpu', dtype=torch.bfloat16): got = loss(*half)
    assert type(got) is torch.Tensor and got.dtype == torch.float32
    assert got.item() == loss(*(as_float(x) for x in half)).item()


def test_l1_is_measured_between_minus_one_and_one():
    coarse,truth = images(2)
    torch.testing.assert_close(reconstruction_loss(coarse, truth, truth, lam=1.), 2*F.l1_loss(to_01(coarse), to_01(truth)))


def test_the_averages_are_over_the_batch_and_the_other_side():
    r,f = relativistic_logits(REAL, FAKE)
    for wrong in (REAL-REAL.mean(), REAL-REAL.mean((1,2,3), True), REAL-FAKE.mean((1,2,3), True)): assert (wrong-r).abs().max() > .1
    for wrong in (FAKE-FAKE.mean(), FAKE-REAL.mean((1,2,3), True), relativistic_logits(FAKE, REAL)[1]): assert (wrong-f).abs().max() > .1


def test_processes_need_shared_averages():
    "Two images stand for two processes: with averages of their own they find another loss than together"
    def hinge(r, f): return (F.relu(1-r).mean() + F.relu(1+f).mean()).item()
    together = hinge(*relativistic_logits(REAL, FAKE))
    own = sum(hinge(*relativistic_logits(REAL[i:i+1], FAKE[i:i+1])) for i in range(2))/2
    shared = sum(hinge(REAL[i:i+1]-FAKE.mean(), FAKE[i:i+1]-REAL.mean()) for i in range(2))/2
    assert shared == pytest.approx(together) and abs(own-together) > .1
