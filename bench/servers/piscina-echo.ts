export default ({ body }: { body: Uint8Array }): Uint8Array => body;
