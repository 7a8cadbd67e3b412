/** A look at a file before anything of it is sent; what is not surely wrong is the server's to judge. */

const LOOK_BYTES = 512;
/** An index larger than that is not worth reading here. */
const MOST_INDEX_BYTES = 64 * 1024 * 1024;
/** A fragmented recording of hours has many, and no index that could be understood here. */
const MOST_BOXES = 1000;

// As functions/upload/sniff.py has them (a test compares what both say).
const SIGNATURES = {
  archive: ["PK\x03\x04", "PK\x05\x06", "\x1f\x8b", "7z\xbc\xaf\x27\x1c", "Rar!\x1a\x07", "BZh", "\xfd7zXZ\0"],
  picture: ["\x89PNG\r\n\x1a\n", "\xff\xd8\xff", "GIF87a", "GIF89a", "II*\0", "MM\0*"],
  document: ["%PDF-", "{\\rtf", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"],
  program: ["\x7fELF", "MZ\x90\0"],
};
const TEXTS = ["#extm3u", "ffconcat", "<!doctype", "<html", "<?xml", "<mpd", "<svg", "v=0\r\n", "v=0\n", "[playlist]"];

const latin = (bytes) => String.fromCharCode(...bytes);
const bytesOf = async (blob, from, to) => new Uint8Array(await blob.slice(from, to).arrayBuffer());

/** What kind of thing a file is, by its first bytes, if that is surely no media; else null. */
export function notMedia(bytes) {
  const first = latin(bytes);
  for (const [kind, signatures] of Object.entries(SIGNATURES)) {
    if (signatures.some((each) => first.startsWith(each))) return kind;
  }
  if (first.startsWith("RIFF") && first.slice(8, 12) === "WEBP") return "picture";
  const text = first.replace(/^\xef\xbb\xbf/, "").replace(/^[ \t\n\r\v\f]+/, "").slice(0, 16).toLowerCase();
  return TEXTS.some((each) => text.startsWith(each)) || isText(bytes) ? "text" : null;
}

function isText(bytes) {
  if (bytes.some((byte) => byte === 0x7f || (byte < 0x20 && ![9, 10, 12, 13, 27].includes(byte)))) return false;
  try {
    // The look may end in the middle of a character, which `stream` allows.
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes, { stream: true }) !== "";
  } catch {
    return false;
  }
}

/** The boxes of a part of an ISO file (ISO/IEC 14496-12) as [kind, from, to]; null where they do not add up. */
async function boxes(read, from, end) {
  const found = [];
  while (from < end) {
    if (end - from < 8 || found.length === MOST_BOXES) return null;
    const view = await read(from, Math.min(from + 16, end));
    const kind = latin(new Uint8Array(view.buffer, view.byteOffset + 4, 4));
    let size = view.getUint32(0);
    let head = 8;
    if (size === 1) {
      if (view.byteLength < 16) return null;
      size = Number(view.getBigUint64(8));
      head = 16;
    } else if (size === 0) size = end - from;
    if (size < head || from + size > end) return null;
    found.push([kind, from + head, from + size]);
    from += size;
  }
  return found;
}

/** Whether a file is an MP4 or MOV whose index was wholly understood and has no track of sound. */
export async function isSilent(file) {
  const slices = async (from, to) => new DataView((await bytesOf(file, from, to)).buffer);
  const all = await boxes(slices, 0, file.size);
  const index = all?.filter(([kind]) => kind === "moov") ?? [];
  // Fragments may bring what the index does not have.
  if (all?.[0]?.[0] !== "ftyp" || index.length !== 1 || all.some(([kind]) => kind === "moof")) return false;
  const [, start, end] = index[0];
  if (end - start > MOST_INDEX_BYTES) return false;
  const bytes = await bytesOf(file, start, end);
  const read = async (from, to) => new DataView(bytes.buffer, from, to - from);
  const inside = await boxes(read, 0, bytes.length);
  if (!inside || inside.some(([kind]) => !["mvhd", "trak", "udta", "iods", "meta", "free", "skip"].includes(kind))) return false;
  const tracks = inside.filter(([kind]) => kind === "trak");
  for (const [, from, to] of tracks) {
    const media = (await boxes(read, from, to))?.filter(([kind]) => kind === "mdia") ?? [];
    const handlers = media.length === 1 ? (await boxes(read, ...media[0].slice(1)))?.filter(([kind]) => kind === "hdlr") : null;
    if (handlers?.length !== 1 || handlers[0][2] - handlers[0][1] < 12) return false;
    // Kinds that surely are no sound: pictures, subtitles, time codes, chapters, hints.
    const kind = latin(bytes.subarray(handlers[0][1] + 8, handlers[0][1] + 12));
    if (!["vide", "subt", "sbtl", "text", "tmcd", "hint"].includes(kind)) return false;
  }
  return tracks.length > 0;
}

/** The first bytes of a file, as `notMedia` wants them. */
export const look = (file) => bytesOf(file, 0, LOOK_BYTES);
