// Python's multiprocessing and concurrent.futures, doing the same as the library's figures.
#pragma once

#include "bench_figure.hpp"

#include <optional>
#include <string>
#include <vector>

namespace bulkhead::tools {

/// "3.11.2 (/usr/bin/python3)"; nullopt when there is none, neither Debian's nor in PATH.
[[nodiscard]] std::optional<std::string> python_version();

/// Gives each figure that Python can do its Python peers: those of the standard library, of loky (in
/// joblib) and of mpi4py. Returns the names of those that are not installed.
std::vector<std::string> add_python_peers(std::vector<figure>& figures);

}  // namespace bulkhead::tools
