"""Between the contract's messages and an engine's plain data: TaskSpec -> Request, engine output -> Result.

The gateway calls it to refuse what can never run, the runner to run it. Faults carry paths inside TaskSpec, after
a prefix of the caller's, for example `tasks[3].generate.top_p`.
"""

from forebay.tasks.v1 import inputs_pb2, task_pb2
from inference.engine import (
    Finish,
    GenerateOutput,
    GenerateRequest,
    Message,
    Request,
    TensorOutput,
    TensorRequest,
)
from inference.tensor.wire import read_tensors, write_tensors
from scheduler.errors import FieldFault, InvalidInput

ROLES = ("system", "user", "assistant", "tool")
MAX_MESSAGES = 1024
MAX_STOPS = 16
MAX_STOP_BYTES = 1024

FINISH_REASONS = {
    Finish.STOP: inputs_pb2.FINISH_REASON_STOP,
    Finish.LENGTH: inputs_pb2.FINISH_REASON_LENGTH,
}

Faults = list[FieldFault]


def request_of(spec: task_pb2.TaskSpec, at: str = "") -> Request:
    """Return what an engine takes for a task. Raises InvalidInput with every fault found."""
    kind = spec.WhichOneof("input")
    if kind == "tensors":
        return tensor_request(spec.tensors, f"{at}tensors")
    if kind == "generate":
        return generate_request(spec.generate, f"{at}generate")
    raise InvalidInput.of(f"{at}input", "exactly one of generate and tensors is required")


def generate_request(message: inputs_pb2.GenerateInput, at: str = "generate") -> GenerateRequest:
    """Check a generation's limits and fill in the defaults. Raises InvalidInput.

    What only the model knows (its context, its vocabulary, whether it has a chat template) is the engine's to check.
    """
    faults: Faults = []

    def check(holds: bool, field: str, fault: str) -> None:
        if not holds:
            faults.append(FieldFault(f"{at}.{field}", fault))

    kind = message.WhichOneof("input")
    check(kind is not None, "input", "exactly one of prompt and messages is required")
    check(kind != "prompt" or bool(message.prompt), "prompt", "expected text, got none")
    messages = _messages(message.messages, f"{at}.messages.messages", faults) if kind == "messages" else ()
    if message.HasField("max_tokens"):
        check(message.max_tokens >= 1, "max_tokens", f"expected at least 1, got {message.max_tokens}")
    check(0 <= message.temperature <= 2, "temperature", f"expected 0 to 2, got {message.temperature:g}")
    if message.HasField("top_p"):
        check(0 < message.top_p <= 1, "top_p", f"expected over 0 and at most 1, got {message.top_p:g}")
    check(message.top_k >= 0, "top_k", f"expected 0 or more, got {message.top_k}")
    check(0 <= message.min_p <= 1, "min_p", f"expected 0 to 1, got {message.min_p:g}")
    stop = tuple(message.stop)
    check(len(stop) <= MAX_STOPS, "stop", f"expected at most {MAX_STOPS}, got {len(stop)}")
    for index, text in enumerate(stop[:MAX_STOPS]):
        size = len(text.encode())
        expected = f"expected 1 to {MAX_STOP_BYTES} bytes, got {size}"
        check(1 <= size <= MAX_STOP_BYTES, f"stop[{index}]", expected)
    if faults:
        raise InvalidInput(faults)
    return GenerateRequest(
        prompt=message.prompt if kind == "prompt" else None,
        messages=messages,
        max_tokens=message.max_tokens if message.HasField("max_tokens") else 256,
        temperature=message.temperature,
        top_p=message.top_p if message.HasField("top_p") else 1.0,
        top_k=message.top_k,
        min_p=message.min_p,
        seed=message.seed if message.HasField("seed") else None,
        stop=stop,
        ignore_eos=message.ignore_eos,
    )


def _messages(chat: inputs_pb2.ChatMessages, at: str, faults: Faults) -> tuple[Message, ...]:
    count = len(chat.messages)
    if not 1 <= count <= MAX_MESSAGES:
        faults.append(FieldFault(at, f"expected 1 to {MAX_MESSAGES} messages, got {count}"))
        return ()
    messages = []
    for index, message in enumerate(chat.messages):
        if message.role not in ROLES:
            faults.append(FieldFault(f"{at}[{index}].role", f"expected one of {', '.join(ROLES)}"))
        if not message.parts:
            faults.append(FieldFault(f"{at}[{index}].parts", "expected at least one part"))
        texts = []
        for place, part in enumerate(message.parts):
            if not part.HasField("text"):
                faults.append(FieldFault(f"{at}[{index}].parts[{place}]", "expected text"))
            texts.append(part.text)
        messages.append(Message(message.role, "".join(texts)))
    return tuple(messages)


def tensor_request(message: inputs_pb2.TensorInput, at: str = "tensors") -> TensorRequest:
    """Return arrays over the message's bytes. Raises InvalidInput.

    Whether names, datatypes and shapes are those of the model is the engine's to check.
    """
    return TensorRequest(read_tensors(message.tensors, f"{at}.tensors"))


def result_of(output: TensorOutput | GenerateOutput) -> task_pb2.Result:
    """Return the message for an engine's output, with usage and time to first token where there are any."""
    result = task_pb2.Result()
    if isinstance(output, TensorOutput):
        write_tensors(result.tensors, output.outputs)
        return result
    generate = result.generate
    generate.text = output.text
    generate.token_ids.extend(output.token_ids)
    generate.finish_reason = FINISH_REASONS[output.finish]
    result.usage.input_tokens = output.input_tokens
    result.usage.output_tokens = len(output.token_ids)
    result.timing.time_to_first_token.FromNanoseconds(round(output.time_to_first_token_s * 1e9))
    return result
