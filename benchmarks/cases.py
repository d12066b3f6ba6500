"""What is measured. A case is a name and its arguments; `make_case` turns it into a function that runs it once."""
import sys
from pathlib import Path
import torch
sys.path.insert(0, str(Path(__file__).parent))
from naive import naive_of
from gla_inpaint.generator import Inpainter
from gla_inpaint.gla import GLA
from gla_inpaint.masks import hole_of_ratio, mask_from_hole
from gla_inpaint.mpga import MPGA

HOLE = (.245,.255) # a quarter, free-form


def masks(
    b:int, # how many, each its own
    size:tuple, # (height, width)
)->torch.Tensor: # [B,1,H,W], 1 = known
    "Masks with a quarter of hole."
    return torch.stack([mask_from_hole(hole_of_ratio(size, HOLE, seed)) for seed in range(b)])


def attention_case(
    kind:str, # 'mpga' or 'gla'
    side:int, # of the feature map
    grad:bool, # with the backward pass
    naive:bool, # the equations as printed
    channels:int=128,
): # a function without arguments that returns what to compare
    "One attention module on a map of [1,channels,side,side]."
    torch.manual_seed(0)
    net = dict(mpga=MPGA, gla=GLA)[kind](channels)
    if naive: net = naive_of(net)
    torch.manual_seed(1)        # making the naive one has drawn numbers
    psi,m,weight = torch.randn(1, channels, side, side),masks(1, (side, side)),torch.randn(1, channels, side, side)
    wrt = [psi.requires_grad_(), *net.parameters()]
    def forward():
        with torch.no_grad(): return [net(psi, m)]
    def backward():
        out = net(psi, m)
        return [out.detach(), *torch.autograd.grad((out*weight).sum(), wrt)]
    return backward if grad else forward


def generator_case(
    h:int, # height of the photo
    w:int, # width
    naive:bool, # the equations as printed
):
    "The whole generator at full width, without gradients."
    torch.manual_seed(0)
    net = Inpainter().eval()
    if naive: net = naive_of(net)
    torch.manual_seed(1)        # making the naive one has drawn numbers
    x,m = torch.rand(1, 3, h, w)*2-1,masks(1, (h, w))
    def run():
        with torch.inference_mode(): return list(net(x, m))
    return run


def ready_learner(
    size:int, # of the photos
    bs:int, # photos in a batch
    device='cpu', # to train on
    bf16:bool=False, # in bfloat16?
    **learner, # more for `get_learner`
): # a learner in the middle of a fit: `learn.one_batch(i, batch)` is a whole step
    "What `get_learner` gives, without a bar and without metrics, ready for its next step."
    from fastai.callback.progress import ProgressCallback
    from gla_inpaint.data import inpaint_dataloaders, sample_photos
    from gla_inpaint.learner import get_learner
    torch.manual_seed(0)
    *photos,held = sample_photos().values()
    dls = inpaint_dataloaders(photos*bs, size=size, bs=bs, valid=[held], ratio=HOLE, num_workers=0, device=device)
    learn = get_learner(dls, metrics=[], **learner)
    learn.remove_cb(ProgressCallback)
    if bf16: learn.to_bf16()
    return learn


def begin_fit(learn):
    "The events before the first step."
    learn.create_opt()
    learn.n_epoch,learn.epoch,learn.pct_train,learn.dl,learn.n_iter = 1,0,0.,learn.dls.train,len(learn.dls.train)
    for event in ('before_fit', 'before_epoch', 'before_train'): learn(event)


def training_case(
    size:int, # of the photos
    bs:int, # photos in a batch
    naive:bool, # the equations as printed
    **learner, # more for `get_learner`
):
    "A whole training step of `get_learner`: both networks, losses, optimizers."
    learn = ready_learner(size, bs, **learner)
    if naive: learn.model = naive_of(learn.model)
    batch = learn.dls.train.one_batch()
    begin_fit(learn)
    def run():
        torch.manual_seed(1)    # the discriminator's dropout
        learn.one_batch(0, batch)
        return [learn.loss.detach().clone()]
    run.learn,run.batch = learn,batch
    return run


CASES = dict(attention=attention_case, generator=generator_case, training=training_case)


def make_case(
    name:str, # of `CASES`
    **kwargs, # its arguments
):
    "The function that runs a case once."
    return CASES[name](**kwargs)
