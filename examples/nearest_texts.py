"""Find which texts mean the same as a question, by the vectors of an embedding model.

python examples/nearest_texts.py --query "How do I get my money back?"
"""

import argparse
import os

from forebay.client import Client

TEXTS = (
    "Refunds are paid to the card that was used, within ten days.",
    "Our shop is open from Monday to Saturday, nine to six.",
    "Parcels are sent on the day of the order.",
    "Batteries can be left at any counter.",
    "Invoices are in your account, below Orders.",
)


def main() -> None:
    """Embed the texts as one durable task, the question at once, and compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--address", default=os.environ.get("FOREBAY_ADDRESS", "127.0.0.1:7070"))
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--query", default="How do I get my money back?")
    args = parser.parse_args()

    with Client(args.address) as client:
        # A library of texts is work that must not be lost: a task. Who asks, waits: a call.
        task = client.submit(args.model, texts=list(TEXTS), priority="low")
        question = client.embed(args.model, [args.query], priority="high")
        library = client.wait(task, timeout_s=120).embeddings

    # Vectors have length 1, so their product is the cosine of the angle between them.
    nearness = library.vectors @ question.vectors[0]
    for index in nearness.argsort()[::-1]:
        print(f"{nearness[index]:.2f}  {TEXTS[index]}")


if __name__ == "__main__":
    main()
