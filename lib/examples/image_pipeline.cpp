// Decodes, scales down and measures pictures in worker processes. The decoder is somebody else's, and ends
// the program when a picture is shorter than it says: that costs its own picture, and no other.
#include <bulkhead/bulkhead.hpp>

#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

struct picture {
    std::size_t width = 0;
    std::size_t height = 0;
    std::vector<unsigned char> gray{};
};

picture decode(const std::string& file) {  // "P5" of Netpbm
    std::istringstream in(file);
    std::string magic;
    std::size_t white = 0;
    picture made;
    in >> magic >> made.width >> made.height >> white;
    if (magic != "P5") throw std::invalid_argument("no picture");
    const auto begin = static_cast<std::size_t>(in.tellg()) + 1;
    if (file.size() - begin < made.width * made.height) std::abort();  // "cannot happen"
    made.gray.assign(file.begin() + static_cast<std::ptrdiff_t>(begin), file.end());
    return made;
}

/// How bright it is on average, of every second pixel in each direction.
unsigned brightness_of_thumbnail(const std::string& file) {
    const picture whole = decode(file);
    unsigned sum = 0, count = 0;
    for (std::size_t y = 0; y < whole.height; y += 2) {
        for (std::size_t x = 0; x < whole.width; x += 2, ++count)
            sum += whole.gray[y * whole.width + x];
    }
    return sum / count;
}

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    const std::vector<std::string> files = {"P5 4 4 255 " + std::string(16, '\x20'), "GIF89a",
                                            "P5 30000 30000 255 " + std::string(16, '\x40'),
                                            "P5 2 2 255 " + std::string(4, '\x60')};
    bulkhead::process_pool pool(2);
    auto results = pool.map(brightness_of_thumbnail, files);
    for (auto it = results.begin(); it != results.end(); ++it) try {
            const unsigned brightness = *it;
            std::cout << "brightness " << brightness << '\n';
        } catch (const bulkhead::worker_crashed& crash) {
            std::cout << "broken: the decoder " << crash.status().to_string() << '\n';
        } catch (const std::invalid_argument& refusal) {
            std::cout << "refused: " << refusal.what() << '\n';
        }
    //> brightness 32
    //> refused: no picture
    //> broken: the decoder was killed by SIGABRT
    //> brightness 96
}
