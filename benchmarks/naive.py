"""The equations as printed, in plain vectorised PyTorch: what the fast versions are timed against.

Full matrices of correlations, a loop over the images of a batch, patches as the filters of convolutions (section 3.2.2).
These are not the pixel loops of `mpga_literal` and `gla_literal`, against which everything wins.
"""
import torch
from torch import nn
import torch.nn.functional as F
from gla_inpaint.generator import Inpainter, Double, UpConv
from gla_inpaint.gla import CANDIDATES, GLA, paste_side
from gla_inpaint.mpga import MPGA, mask_like, prune_scores


class NaiveMPGA(MPGA):
    "Eq. 1-5, one image after the other, each with its whole matrix."
    def one(self, psi, m): # [1,C,H,W], [1,1,H,W] -> psi_out [1,C,H,W]
        q,k,v = (omega(psi)[0].flatten(1) for omega in (self.omega1, self.omega2, self.omega3))   # [C,N]
        rho = q.T @ k                                                   # eq. 1
        kappa = prune_scores(rho, m.flatten()[None], self.prune).softmax(-1)     # eq. 2, 3
        psi_p = (v @ kappa.T).view_as(psi)                              # eq. 4
        return m*psi + (1-m)*psi_p                                      # eq. 5

    def forward(self, psi, mask):
        m = mask_like(mask, psi)
        return torch.cat([self.one(psi[i:i+1], m[i:i+1]) for i in range(len(psi))])


class NaiveGLA(GLA):
    "Eq. 1-12, one image after the other; patches are cut with `F.unfold`, compared with `conv2d` and laid with `conv_transpose2d`."
    one_global = NaiveMPGA.one

    def patches(self, psi, m, kernel, stride): # [1,C,H,W], [1,1,H,W] -> p' [N,C,kernel,kernel]
        around = (kernel-stride)//2,kernel-stride-(kernel-stride)//2
        psi,m = (F.pad(t, around*2) for t in (psi, m))
        cut = lambda t: F.unfold(t, kernel, stride=stride)[0].view(t.shape[1], kernel*kernel, -1).permute(2,0,1)     # [N,C,K]
        p,pm = cut(psi),cut(m)
        q,k,v = (cut(omega(psi)) for omega in (self.omega1, self.omega2, self.omega3))
        kappa = prune_scores(q.mT @ k, pm, self.prune).softmax(-1)      # eq. 6-8
        return (pm*p + (1-pm)*(v @ kappa.mT)).unflatten(-1, (kernel, kernel))    # eq. 9, 10

    def known(self, m, kernel, stride): # [1,1,H,W] -> [N], the share of each patch that is known
        before = (kernel-stride)//2
        return F.unfold(F.pad(m, (before,kernel-stride-before)*2), kernel, stride=stride)[0].mean(0)

    def allowed(self, *shares): # [N] each -> [N] bool: the patches that may be pasted, of the first kind that there is
        least = torch.stack(shares).amin(0)
        kinds = dict(known=least == 1, partly=least > 0, all=least >= 0)
        return next(kinds[k] for k in CANDIDATES[CANDIDATES.index(self.candidates):] if kinds[k].any())

    def one(self, psi, m): # [1,C,H,W], [1,1,H,W] -> [1,C,H,W]
        r,(h,w),k = self.rate,psi.shape[-2:],self.patch
        psi_out = self.one_global(psi, m)
        psi,m,psi_out = (F.pad(t, (0,-w%r,0,-h%r)) for t in (psi, m, psi_out))
        low,m_low,out_low = (t[...,::r,::r] for t in (psi, m, psi_out))
        pool = self.patches(low, m_low, k, 1)
        filters = pool/pool.flatten(1).norm(dim=1).clamp(min=1e-4)[:,None,None,None]
        length = F.conv2d(out_low.square().sum(1, keepdim=True), pool.new_ones(1, 1, k, k), padding=k//2).clamp(min=1e-8).sqrt()
        s = F.conv2d(out_low, filters, padding=k//2)/length             # eq. 11 [1,N,h,w]
        side = paste_side(k, r)
        may = self.allowed(self.known(m_low, k, 1), self.known(m, side, r))
        s = s.masked_fill(~may[:,None,None], -torch.inf)
        kappa = (self.scale*s).softmax(1)                               # eq. 12
        paste = pool if r == 1 else self.patches(psi, m, side, r)
        before = (side-r)//2
        lay = lambda filters, shares: F.conv_transpose2d(shares, filters, stride=r)[...,before:before+psi.shape[2],before:before+psi.shape[3]]
        count = lay(paste.new_ones(1, 1, side, side), kappa[:,:1]*0+1)
        return (lay(paste, kappa)/count)[...,:h,:w]

    forward = NaiveMPGA.forward


class NaiveInpainter(Inpainter):
    "Both networks with contiguous maps."
    def pad(self, x): return super().pad(x).contiguous()


def naive_of(
    net:nn.Module, # Inpainter, MPGA or GLA
)->nn.Module: # with the same weights
    "The same network read naively: attention as above, nearest upsampling and then a 3x3 convolution, contiguous."
    kinds = {MPGA: NaiveMPGA, GLA: NaiveGLA}
    if type(net) in kinds:
        slow = kinds[type(net)](net.omega1.in_channels)
        if isinstance(net, GLA): slow.patch,slow.rate,slow.scale,slow.candidates = net.patch,net.rate,net.scale,net.candidates
        slow.prune = net.prune
    else:
        slow = NaiveInpainter(net.width, net.mpga, net.gla)
        for half in (slow.coarse, slow.refine):
            half.attention = naive_of(half.attention)
            for i,layer in enumerate(half.decoder):
                if isinstance(layer, Double): half.decoder[i] = nn.Upsample(scale_factor=2, mode='nearest')
                elif isinstance(layer, UpConv): layer[0] = nn.Conv2d(layer[0].in_channels, layer[0].out_channels, 3, padding=1)
    slow.load_state_dict(net.state_dict())
    return slow.to(next(net.parameters()).device, next(net.parameters()).dtype)
