from pathlib import Path

import pytest

from inference.engine import Message
from inference.generate.chat_template import ChatTemplate, load_chat_template
from scheduler.errors import InvalidInput, ModelUnusable

HELLO = (Message("user", "hello"),)


def rendered(source: str, *messages: Message) -> str:
    return ChatTemplate(source, {"bos_token": "<s>"}).render(messages or HELLO)


def test_messages_and_special_tokens_are_laid_out() -> None:
    source = (
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m['content'] }}{% endfor %}"
        "{{ add_generation_prompt }}"
    )
    assert rendered(source) == "<s>[user] helloTrue"


def test_text_of_messages_is_never_run_as_a_template() -> None:
    assert rendered("{{ messages[0].content }}", Message("user", "{{ 1 + 1 }}")) == "{{ 1 + 1 }}"


def test_json_is_not_escaped_for_html() -> None:
    assert (
        rendered("{{ messages | tojson }}", Message("user", "<é>")) == '[{"role": "user", "content": "<é>"}]'
    )


def test_a_template_that_refuses_says_why() -> None:
    with pytest.raises(InvalidInput, match=r"generate\.messages: .*only two roles"):
        rendered("{{ raise_exception('only two roles') }}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(role='system') }}",
        "{% for i in range(999999999) %}{% endfor %}",
        "{{ 'a' * 999999999 }}",
        "{{ 9 ** 999999999 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ missing.field }}",
        "{{ 1 / 0 }}",
    ],
)
def test_what_a_template_must_not_do_is_an_error_of_the_request(source: str) -> None:
    with pytest.raises(InvalidInput, match="fails on them"):
        rendered(source)


def test_output_is_bounded() -> None:
    with pytest.raises(InvalidInput, match="writes more than"):
        rendered("{% for i in range(1000) %}{{ 'a' * 90000 }}{% endfor %}")


def test_a_template_that_is_not_jinja_makes_the_model_unusable() -> None:
    with pytest.raises(ModelUnusable, match="chat template"):
        ChatTemplate("{% for %}", {})


def test_the_file_is_preferred_to_the_one_in_the_tokenizer_config(tmp_path: Path) -> None:
    assert load_chat_template(tmp_path) is None
    (tmp_path / "tokenizer_config.json").write_text(
        '{"chat_template": "config {{ eos_token }}", "eos_token": {"content": "</s>"}}'
    )
    template = load_chat_template(tmp_path)
    assert template is not None
    assert template.render(HELLO) == "config </s>"
    (tmp_path / "chat_template.jinja").write_text("file")
    template = load_chat_template(tmp_path)
    assert template is not None
    assert template.render(HELLO) == "file"
