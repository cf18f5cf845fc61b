"""Print an answer while it is being generated.

python examples/stream_tokens.py --prompt "Tell me a story about a river."
"""

import argparse
import asyncio
import os

from forebay.client import AsyncClient


async def main() -> None:
    """Stream the tokens of one task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--address", default=os.environ.get("FOREBAY_ADDRESS", "127.0.0.1:7070"))
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--prompt", default="Tell me a story about a river.")
    args = parser.parse_args()

    async with AsyncClient(args.address) as client:
        task = await client.submit(
            args.model,
            messages=[{"role": "user", "content": args.prompt}],
            max_tokens=96,
            priority="critical",
        )
        # The stream may be left and taken up again at any time: stream(task, after=chunk.sequence).
        async for chunk in client.stream(task, timeout_s=120):
            if chunk.restarted:
                print("\n[a runner was lost; the answer starts again]")
            print(chunk.text, end="", flush=True)
            if chunk.state is not None:
                print(f"\n[{chunk.state}: {chunk.finish_reason}]")


if __name__ == "__main__":
    asyncio.run(main())
