"""Submit tasks of all four priorities at once and watch in which order they are answered.

    python examples/many_with_priorities.py --count 4

The urgent ones overtake the others, and even the lowest level moves on.
"""

import argparse
import os

from forebay.client import Client, Priority, TaskState, task_spec


def main() -> None:
    """Submit the least urgent tasks first, then print each as it ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--address", default=os.environ.get("FOREBAY_ADDRESS", "127.0.0.1:7070"))
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--count", type=int, default=4, help="tasks of each priority")
    args = parser.parse_args()

    # The least urgent first.
    priorities = [priority for priority in reversed(Priority) for _ in range(args.count)]
    question = [{"role": "user", "content": "Name a river."}]
    specs = [
        task_spec(args.model, messages=question, max_tokens=24, priority=priority) for priority in priorities
    ]
    with Client(args.address) as client:
        tasks = client.submit_many(specs)
        level = {task.id: priority for task, priority in zip(tasks, priorities, strict=True)}

        place = 0
        for update in client.watch(tasks, include_result=True, timeout_s=300):
            if update.done:
                place += 1
                answer = update.text if update.state is TaskState.SUCCEEDED else str(update.error)
                first_line = answer.strip().partition("\n")[0]
                print(f"{place:3}. {level[update.id]:<8} {update.state:<9} {first_line[:60]}")

        for queue in client.queues():
            print(f"queue {queue.pool}.{queue.priority:<8} {queue.depth} waiting, {queue.running} running")


if __name__ == "__main__":
    main()
