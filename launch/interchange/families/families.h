// One function for each architecture, in the file of its name. defines: llama, mistral, qwen2, qwen3, mixtral, olmoe,
// qwen2_moe, qwen3_moe, deepseek_v2, deepseek_v3, gpt_oss, switch_transformers
#pragma once
#include "launch/interchange/family.h"

namespace launch::interchange {

Family llama();                // Touvron et al. 2023; 3.x with its rope scaling
Family mistral();              // Jiang et al. 2023: Llama with a window
Family qwen2();                // Yang et al. 2024: biases of query, key and value
Family qwen3();                // Yang et al. 2025: norms of query and key heads
Family mixtral();              // Jiang et al. 2024
Family olmoe();                // Muennighoff et al. 2024: norms over all query and key heads
Family qwen2_moe();            // Yang et al. 2024: dense blocks, a shared expert
Family qwen3_moe();            // Yang et al. 2025
Family deepseek_v2();          // DeepSeek-AI 2024: latent attention, experts in groups, shared experts
Family deepseek_v3();          // DeepSeek-AI 2024: balanced by a bias of the selection
Family gpt_oss();              // OpenAI 2025: attention sinks, clamped SwiGLU
Family switch_transformers();  // Fedus et al. 2022 on T5: an encoder and a decoder, one expert a token

}  // namespace launch::interchange
