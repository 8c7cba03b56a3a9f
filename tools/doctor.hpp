// bulkhead doctor: whether this machine has what the library needs.
#pragma once

namespace bulkhead::tools {

/// Prints each finding. Throws std::runtime_error when something needed is missing. bulkhead::init must have
/// been called.
void doctor_command(bool json);

}  // namespace bulkhead::tools
