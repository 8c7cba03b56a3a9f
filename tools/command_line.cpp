// Boost.Program_options, and its errors as ours.
#include "command_line.hpp"

namespace bulkhead::tools {

namespace po = boost::program_options;

po::variables_map parse_options(int argc, char** argv, const po::options_description& options,
                                const po::positional_options_description& positional) {
    constexpr int style =
        po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
    po::variables_map given;
    try {
        po::store(po::command_line_parser(argc, argv)
                      .options(options)
                      .positional(positional)
                      .style(style)
                      .run(),
                  given);
        po::notify(given);
    } catch (const po::error& mistake) {
        throw usage_mistake(mistake.what());
    }
    return given;
}

}  // namespace bulkhead::tools
