"""Submit one task and wait for its answer.

python examples/submit_and_wait.py --prompt "Name the capital of France."
"""

import argparse
import os

from forebay.client import Client


def main() -> None:
    """Ask a language model one question."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--address", default=os.environ.get("FOREBAY_ADDRESS", "127.0.0.1:7070"))
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--prompt", default="Name the capital of France.")
    args = parser.parse_args()

    with Client(args.address) as client:
        # When submit returns, the task is safe: it survives the death of any process.
        task = client.submit(
            args.model,
            messages=[{"role": "user", "content": args.prompt}],
            max_tokens=64,
            priority="high",
            labels={"example": "submit_and_wait"},
        )
        print(f"submitted {task.id}")

        done = client.wait(task, timeout_s=120)
        print(done.text)  # raises TaskFailedError when the task ended without a result
        if done.usage and done.timing:
            print(
                f"{done.usage.input_tokens} tokens in, {done.usage.output_tokens} out; "
                f"waited {done.timing.queue_s * 1000:.0f} ms, ran {done.timing.execute_s * 1000:.0f} ms"
            )


if __name__ == "__main__":
    main()
