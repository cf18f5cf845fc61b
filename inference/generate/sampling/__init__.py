"""Choosing the next token of every row from one matrix of logits.

`Sampling` says how one row chooses and never changes; `SamplerState` is what a row carries from step to step: its
random generator and the tokens that penalties count. `choose` takes the logits of a step with the states of their
rows, returns a `Chosen`, and counts each chosen token in its state.

    state = SamplerState(Sampling.of(request), prompt_token_ids, request.seed, index=0)
    chosen = choose(logits, [state, ...], masks=None)
    chosen.tokens[row], chosen.failed.get(row), chosen.logprobs.get(row)

What happens to a row, in order, is that of vLLM's sampler:

1. logprobs are the log-softmax of the raw logits, before everything below (vLLM's `raw_logprobs`);
2. logit bias is added (OpenAI `logit_bias`);
3. the constraint mask takes away what a grammar forbids;
4. repetition penalty, then frequency and presence penalty;
5. a temperature under GREEDY_BELOW ends it: the highest logit wins, and the lowest id among equals;
6. the logits are divided by the temperature, then filtered by top-k, top-p and min-p in the order of Hugging Face's
   warpers, and one of what is left is drawn.

What a row chooses depends on its own logits, state and mask alone, bit for bit.
"""

from inference.generate.sampling.choosing import Chosen, choose
from inference.generate.sampling.parameters import GREEDY_BELOW, Sampling
from inference.generate.sampling.state import SamplerState

__all__ = ["GREEDY_BELOW", "Chosen", "SamplerState", "Sampling", "choose"]
