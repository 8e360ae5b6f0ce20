"""What this machine computes in by itself. Knows torch's word for it, and nothing of models."""

import torch


def has_bf16() -> bool:
    """Whether bf16 is computed in hardware; where it is emulated, float32 is faster."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
