// bulkhead ls, stat, rm, clean: the named objects on this machine.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace bulkhead::tools {

/// What the command line asks of one of them.
struct object_request {
    std::vector<std::string> names;  ///< "NAME" or "KIND/NAME"; empty: all, where that makes sense
    bool json = false;
    bool force = false;
    bool dry_run = false;
};

void list_command(const object_request& request);
/// These throw std::runtime_error when a name is not there, or is more than one object's.
void stat_command(const object_request& request);
void remove_command(const object_request& request);
void clean_command(const object_request& request);

}  // namespace bulkhead::tools
