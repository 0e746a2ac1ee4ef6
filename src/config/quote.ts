/** JSON's quotes: shows white space and control characters for what they are; long values are cut. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 117)}...` : text);
}
