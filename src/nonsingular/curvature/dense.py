from __future__ import annotations

import torch


def dense(H):
    A = H @ torch.eye(H.shape[0], dtype=H.dtype, device=H.device)
    return (A + A.T) / 2
