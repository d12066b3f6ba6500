import torch
from gla_inpaint.losses import ssim, ssim_map, to_01

def masked_mean(x, w): return (x*w).sum((1,2,3))/w.sum((1,2,3))

def inpaint_metrics(pred, truth, mask):
    "dict of per-image [B] tensors"
    a,b = to_01(pred),to_01(truth)
    hole = (1-mask).expand_as(a)
    out = {}
    for name,w,s in (('', torch.ones_like(a), ssim(a, b)), ('hole_', hole, masked_mean(ssim_map(a, b), hole))):
        mse = masked_mean((a-b)**2, w)
        out |= {name+'l1': 100*masked_mean((a-b).abs(), w), name+'l2': 100*mse, name+'ssim': 100*s, name+'psnr': -10*mse.log10()}
    return out
