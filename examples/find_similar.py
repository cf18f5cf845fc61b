"""Find the sentences that mean nearly the same as another one, by the vectors of an embedding model.

forebay up --model minilm=PATH_OF_AN_EMBEDDING_MODEL
python examples/find_similar.py --query "How do I get my money back?" < sentences.txt
"""

import argparse
import os
import sys

import numpy as np

from forebay.client import Client

TEXTS_A_CALL = 64


def main() -> None:
    """Print the sentences of standard input, the most similar ones first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--address", default=os.environ.get("FOREBAY_ADDRESS", "127.0.0.1:7070"))
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--query", required=True)
    parser.add_argument("--count", type=int, default=3, help="sentences to print")
    args = parser.parse_args()

    sentences = [line.strip() for line in sys.stdin if line.strip()]
    with Client(args.address) as client:
        # Vectors of length 1: their product is the cosine of the angle between them.
        query = client.embed(args.model, [args.query], normalize=True).vectors[0]
        found: list[tuple[float, str]] = []
        for first in range(0, len(sentences), TEXTS_A_CALL):
            texts = sentences[first : first + TEXTS_A_CALL]
            answer = client.embed(args.model, texts, normalize=True)
            found += zip((answer.vectors @ query).tolist(), texts, strict=True)
            for text, truncated in zip(texts, answer.truncated, strict=True):
                if truncated:
                    print(f"only the beginning was read of: {text[:60]}", file=sys.stderr)
    for cosine, text in sorted(found, reverse=True)[: args.count]:
        print(f"{np.clip(cosine, -1, 1):.2f} {text}")


if __name__ == "__main__":
    main()
