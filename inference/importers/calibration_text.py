"""The text that a model reads while it is imported, so that its own activations say which weights matter.

It mixes what language models are given: prose, questions and answers, code, tables, mail, mathematics and several
languages. What it says is of no importance; that it is always the same makes an import repeatable.
"""

from typing import Final

TEXT: Final = """\
<|im_start|>system
You are a helpful assistant.<|im_end|>
<|im_start|>user
Why is the sky blue during the day and red in the evening?<|im_end|>
<|im_start|>assistant
Sunlight contains all colours. Air scatters short waves much more than long ones, so blue light reaches us from every
direction while the sun stands high. In the evening the light travels a longer way through the atmosphere: most of
the blue has been scattered out of the beam before it arrives, and what remains is orange and red.<|im_end|>
<|im_start|>user
Write a Python function that returns the n largest words of a text, and explain it in one sentence.<|im_end|>
<|im_start|>assistant
```python
import re
from collections import Counter

def most_common(text: str, n: int = 10) -> list[tuple[str, int]]:
    \"\"\"Return the n words that occur most often, with their counts.\"\"\"
    words = re.findall(r"[a-z']+", text.lower())
    return Counter(words).most_common(n)

if __name__ == "__main__":
    print(most_common("the cat and the dog and the bird", n=2))  # [('the', 3), ('and', 2)]
```
It lowers the text, cuts it into words with a regular expression, and lets a counter sort them.<|im_end|>

The train to the coast left at 7:45, eleven minutes late, with two carriages fewer than usual. Martha found a seat
by the window, put her bag between her feet and opened the letter again. Her brother had written it in pencil, on
the back of a bill from a hardware shop: nails, 2 kg of lime, a brush. "Come before Sunday," it said, "or the house
will be somebody else's." She had not been there since their mother's funeral, nineteen years ago. Outside, the
fields were white with frost, and a man on a bicycle raced the train for a while before he gave up and waved.

In economics, the price of a good tends to rise when demand grows faster than supply. If a government fixes a price
below this level, shortages follow: queues, rationing, or a black market. Critics of this simple model point out
that people are not always rational, that information costs something, and that large firms can set prices
themselves. Nevertheless, the model explains why rents are high in cities where few houses are built.

The cell is the smallest unit of life. Plants, animals and fungi have cells with a nucleus, which holds the DNA;
bacteria do not. Mitochondria turn sugar and oxygen into energy, carbon dioxide and water. During photosynthesis,
chloroplasts do the opposite: they use light to build sugar from carbon dioxide and water, and release oxygen.

| city     | country | population | founded |
|----------|---------|-----------:|--------:|
| Lisbon   | Portugal|    545,000 |  ~1200 BC |
| Nairobi  | Kenya   |  4,397,000 |    1899 |
| Osaka    | Japan   |  2,750,000 |     645 |

Let f(x) = 3x^2 - 12x + 7. The derivative is f'(x) = 6x - 12, which is zero at x = 2, so the minimum is
f(2) = 12 - 24 + 7 = -5. A bag holds 5 red and 3 green marbles; two are drawn without looking. The probability
that both are red is 5/8 * 4/7 = 20/56 = 5/14, or about 35.7%.

#include <stdio.h>
int main(void) {
    for (int i = 1; i <= 100; ++i) {
        if (i % 15 == 0) puts("FizzBuzz");
        else if (i % 5 == 0) puts("Buzz");
        else if (i % 3 == 0) puts("Fizz");
        else printf("%d\\n", i);
    }
    return 0;
}

{"id": 4711, "name": "Ada", "roles": ["admin", "editor"], "active": true, "score": 9.75, "manager": null}
SELECT name, COUNT(*) AS orders FROM customers JOIN orders USING (customer_id)
WHERE created_at >= '2024-01-01' GROUP BY name HAVING COUNT(*) > 3 ORDER BY orders DESC LIMIT 20;

Dear Mr. Okafor, thank you for your message of 3 May. Unfortunately the part you ordered (no. 88-412-B) is out of
stock until the end of the month. We can send a similar one today at the same price, or refund the full amount of
$129.90. Please let us know which you prefer. Kind regards, Elena Petrova, Customer Service

To make the soup, cut two onions, three carrots and a stick of celery into small pieces. Fry them slowly in olive
oil for ten minutes. Add a litre of stock, a tin of tomatoes and a handful of beans; let it simmer for half an hour,
then season with salt, pepper and a little vinegar. It tastes better on the second day.

Question: Which planet has the most moons? Answer: Saturn, with more than 140 known moons.
Question: Who wrote "Pride and Prejudice"? Answer: Jane Austen, who published it in 1813.
Question: What is 17 times 23? Answer: 391.
Translate to French: "Where is the nearest station?" - "Où est la gare la plus proche ?"
Translate to German: "I would like two tickets, please." - "Ich hätte gern zwei Karten, bitte."
Translate to Spanish: "It has rained since Monday." - "Llueve desde el lunes."
Москва стоит на реке. 今日は天気がいいですね。 El perro duerme. 我喜欢喝茶。 مرحبا بالعالم

The court held that the contract was void, because one party had concealed a material fact. On appeal, the judges
disagreed: what counts, they wrote, is whether a reasonable buyer would have asked. The case went back to the lower
court, which awarded damages of 40,000 pounds and the costs of both proceedings.

He looked up. "You never told me you could sing." She laughed, embarrassed, and closed the piano. "You never asked."
For a moment neither of them spoke. Somewhere below, in the street, a tram rang its bell, and then it was quiet
again, so quiet that they could hear the snow sliding from the roof.

The Roman Empire reached its greatest extent under Trajan, in AD 117. In the third century it was shaken by civil
wars, inflation and plague. Diocletian divided the administration in 293; Constantine moved the capital to Byzantium
in 330. The last emperor of the West was deposed in 476, while the East survived until 1453.

Steps to reset the router: 1. Unplug it and wait thirty seconds. 2. Plug it in again and wait until the light is
green. 3. Open http://192.168.0.1 in a browser and sign in. 4. Choose "Wireless", change the password, and save.
Note: all devices will be disconnected and must be given the new password.
"""
