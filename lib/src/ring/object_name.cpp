// Checks of names, and where they lead.
#include "ring/object_name.hpp"

#include <bulkhead/error.hpp>

#include <unistd.h>

namespace bulkhead::ring {

object_name::object_name(object_kind kind, const std::string& name) {
    const std::string article = std::string("bulkhead: the name of ") +
                                (kind == object_kind::event ? "an " : "a ") + to_string(kind);
    if (name.empty()) throw usage_error(article + " must not be empty");
    if (name.size() > name_bytes_max) {
        throw usage_error(article + " has " + std::to_string(name.size()) + " bytes; at most " +
                          std::to_string(name_bytes_max) + " are possible");
    }
    if (name.find('\0') != std::string::npos) {
        throw usage_error(article + " must not hold a zero byte");
    }
    if (name.find('/') != std::string::npos) {
        throw usage_error(article + " must not hold a '/': '" + name + "'");
    }
    path_ = std::string(os::shared_memory_directory) + "/" + std::string(file_prefix) +
            std::to_string(::geteuid()) + "-" + to_string(kind) + "-" + name;
    description_ = std::string(to_string(kind)) +
                   (kind == object_kind::guarded ? " value '" : " '") + name + "'";
}

}  // namespace bulkhead::ring
