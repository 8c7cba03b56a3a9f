// What the command lines of all the programs have in common.
#pragma once

#include <boost/program_options.hpp>

#include <stdexcept>

namespace bulkhead::tools {

/// A mistake in the command line.
class usage_mistake : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Without guessing what the beginning of an option's name may mean: that would change with every new
/// option. Throws usage_mistake.
[[nodiscard]] boost::program_options::variables_map parse_options(
    int argc, char** argv, const boost::program_options::options_description& options,
    const boost::program_options::positional_options_description& positional = {});

}  // namespace bulkhead::tools
