"""What attention_check bench is compared with: PyTorch's flash attention and cuDNN at the same shapes, medians of ten."""
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel


def median_ms(f):
    for _ in range(3):
        f()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(11)]
    for e in events[:10]:
        e.record()
        f()
    events[10].record()
    torch.cuda.synchronize()
    return sorted(a.elapsed_time(b) for a, b in zip(events, events[1:]))[5]


def rand(b, h, t, hd, grad):
    return torch.randn(b, t, h, hd, device="cuda", dtype=torch.bfloat16).transpose(1, 2).requires_grad_(grad)


for b, h, t, hd in ((8, 32, 2048, 64), (8, 32, 2048, 128), (8, 16, 512, 64), (2, 32, 2048, 128)):
    q, k, v = (rand(b, h, t, hd, True) for _ in range(3))
    g = rand(b, h, t, hd, False)
    flop = 2.0 * b * h * t * t * hd
    for name, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cudnn", SDPBackend.CUDNN_ATTENTION)):
        with sdpa_kernel(backend):
            f = median_ms(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True))
            o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            w = median_ms(lambda: torch.autograd.grad(o, (q, k, v), g, retain_graph=True))
        print(f"torch {name:5s} B{b} H{h} T{t} hd{hd}: fwd {f:.3f} ms {flop / f / 1e9:4.0f} TFLOP/s   "
              f"bwd {w:.3f} ms {2.5 * flop / w / 1e9:4.0f} TFLOP/s", flush=True)
