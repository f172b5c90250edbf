# SPDX-License-Identifier: Apache-2.0
"""Drop-in modules: the functions of the attention packages that Tilewright replaces, with their names, their order of
arguments, their shapes and their return values, on torch tensors on the CPU or a CUDA device.

===========================  ==============================================================================
module                       stands in for
===========================  ==============================================================================
``flash_attn_1``             the FlashAttention 1 fork with additive mask and bias
``fa2_glm_mask``             the FlashAttention 2.0.4 fork with GLM break points
``fa2_pack_glm_mask``        the FlashAttention 2.3.6 fork with packed GLM pairs
``flash_attn``               FlashAttention 2.8
``triton_flash_attention``   ``flash_attn_triton.py``
``atorch``                   ATorch's ``FlashAttnModule`` and its helpers
===========================  ==============================================================================

Where an original has a bug, its stand-in does what the original documents; ``python/docs/compat.md`` lists every
difference. Forward only: a tensor that requires grad raises :class:`tilewright.Unsupported`. A wrong argument raises
:class:`tilewright.InvalidArgument` under the name that the original gives it. The modules import PyTorch.
"""
