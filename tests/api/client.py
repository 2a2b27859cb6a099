"""A client of Stoke's API that knows nothing but an address: messages and methods come by gRPC reflection."""

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_status import rpc_status


class Service:
    """The methods of one service, by their names in the proto: `jobs.CreateJob(request, timeout=5)`."""

    def __init__(self, channel, pool, name):
        self._channel = channel
        self._service = pool.FindServiceByName(name)

    def __getattr__(self, method):
        found = self._service.methods_by_name[method]
        kind = "_".join(
            "stream" if streams else "unary"
            for streams in (found.client_streaming, found.server_streaming)
        )
        return getattr(self._channel, kind)(
            f"/{self._service.full_name}/{method}",
            request_serializer=message_factory.GetMessageClass(found.input_type).SerializeToString,
            response_deserializer=message_factory.GetMessageClass(found.output_type).FromString,
        )


class Stoke:
    """One coordinator."""

    def __init__(self, address):
        self._channel = grpc.insecure_channel(address)
        self._pool = descriptor_pool.DescriptorPool(
            ProtoReflectionDescriptorDatabase(self._channel)
        )
        self.jobs = self.service("stoke.v1.JobService")
        self.fleet = self.service("stoke.v1.FleetService")

    def service(self, name):
        return Service(self._channel, self._pool, name)

    def message(self, name, /, **fields):
        """A message of stoke.v1."""
        descriptor = self._pool.FindMessageTypeByName(f"stoke.v1.{name}")
        return message_factory.GetMessageClass(descriptor)(**fields)

    def state(self, number):
        """The name of a job's state."""
        values = self._pool.FindEnumTypeByName("stoke.v1.JobState").values_by_number
        return values[number].name.removeprefix("JOB_STATE_")


KNOWN_DETAILS = (
    error_details_pb2.ErrorInfo,
    error_details_pb2.BadRequest,
    error_details_pb2.PreconditionFailure,
    error_details_pb2.QuotaFailure,
    error_details_pb2.ResourceInfo,
    error_details_pb2.RetryInfo,
)


def details(error):
    """The google.rpc details of an error, by the names of their messages."""
    status = rpc_status.from_call(error)
    found = {}
    for packed in status.details if status else []:
        for known in KNOWN_DETAILS:
            unpacked = known()
            if packed.Unpack(unpacked):
                found[known.DESCRIPTOR.name] = unpacked
    return found
