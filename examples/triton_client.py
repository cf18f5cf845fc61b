"""Ask a tensor model with Triton's own client, unchanged (pip install 'tritonclient[grpc]').

    python examples/triton_client.py --model mlp --requests 16

The port is the one that Forebay's own clients use. Requests that wait at the same time share runs of the model, as far
as it takes several rows: the statistics at the end tell how many runs it took.
"""

import argparse
import asyncio
import os

import numpy as np
import tritonclient.grpc as messages
import tritonclient.grpc.aio as triton
from tritonclient.utils import triton_to_np_dtype


async def main() -> None:
    """Send requests at once, each with random numbers, and print what comes back."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--address", default=os.environ.get("FOREBAY_ADDRESS", "127.0.0.1:7070"))
    parser.add_argument("--model", required=True)
    parser.add_argument("--requests", type=int, default=4)
    args = parser.parse_args()

    random = np.random.default_rng(0)
    async with triton.InferenceServerClient(args.address) as client:
        metadata = await client.get_model_metadata(args.model)
        print(
            f"{metadata.name} takes "
            + ", ".join(f"{i.name} {i.datatype} {list(i.shape)}" for i in metadata.inputs)
        )

        def inputs() -> list[messages.InferInput]:
            made = []
            for each in metadata.inputs:
                # -1 is any length, and of the first dimension how many rows the request has.
                shape = [1 if length < 0 else length for length in each.shape]
                values = (random.random(shape) * 10).astype(triton_to_np_dtype(each.datatype))
                made.append(messages.InferInput(each.name, shape, each.datatype))
                made[-1].set_data_from_numpy(values)
            return made

        # `priority` 1 is the most urgent of four; `timeout` is in microseconds.
        calls = [
            client.infer(args.model, inputs(), priority=2, timeout=10_000_000) for _ in range(args.requests)
        ]
        for number, answer in enumerate(await asyncio.gather(*calls)):
            outputs = [answer.as_numpy(each.name) for each in metadata.outputs]
            print(
                number,
                "; ".join(
                    f"{each.name} {output.tolist()}"
                    for each, output in zip(metadata.outputs, outputs, strict=True)
                ),
            )

        [counted] = (await client.get_inference_statistics(args.model)).model_stats
        print(f"{counted.inference_count} rows in {counted.execution_count} runs so far")


if __name__ == "__main__":
    asyncio.run(main())
