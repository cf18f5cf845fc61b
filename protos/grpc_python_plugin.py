"""A protoc plugin for gRPC service stubs, over the generator inside grpcio-tools.

grpcio-tools has its gRPC generator compiled into its own protoc and offers no plugin executable,
while buf talks to plugins only. This script speaks the plugin protocol on one side (a
CodeGeneratorRequest on standard input, a CodeGeneratorResponse on standard output; see
google/protobuf/compiler/plugin.proto) and calls that protoc on the other. It also marks each package
of ours as typed (PEP 561): the generated folder is emptied first, so nothing else could keep the marker.
"""

import sys
import tempfile
from pathlib import Path, PurePosixPath

from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc


def generate(request: plugin_pb2.CodeGeneratorRequest) -> plugin_pb2.CodeGeneratorResponse:
    """Generate `*_pb2_grpc.py` for the requested files that define a service, and `py.typed` for their packages."""
    response = plugin_pb2.CodeGeneratorResponse(
        supported_features=plugin_pb2.CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
    )
    wanted = set(request.file_to_generate)
    # The package is the folder of the versions: forebay/tasks for forebay/tasks/v1/task.proto.
    for package in sorted({str(PurePosixPath(name).parent.parent) for name in wanted}):
        response.file.add(name=f"{package}/py.typed", content="")
    services = [f.name for f in request.proto_file if f.name in wanted and f.service]
    if not services:
        return response
    with tempfile.TemporaryDirectory() as folder:
        descriptors = Path(folder) / "descriptors.bin"
        descriptors.write_bytes(FileDescriptorSet(file=request.proto_file).SerializeToString())
        out = Path(folder) / "out"
        out.mkdir()
        status = protoc.main(
            ["protoc", f"--descriptor_set_in={descriptors}", f"--grpc_python_out={out}", *services]
        )
        if status != 0:
            response.error = f"protoc ended with exit code {status}"
            return response
        for path in sorted(out.rglob("*.py")):
            response.file.add(name=str(path.relative_to(out)), content=path.read_text("utf-8"))
    return response


if __name__ == "__main__":
    answer = generate(plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(answer.SerializeToString())
