"""What fulfils `scheduler.ports`: Redis or Valkey, the Pulsar protocol, plain memory, and the machine's clock."""
